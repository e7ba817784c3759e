"""Tables of very many rows by Arrow: the same cells, the same bytes, a tenth of the time.

Both ways are only for what needs no second look: plain text is cut at its commas, numbers are
printed. Whatever else a table holds goes the way that :mod:`deft.tables.csv_text` and pandas go,
which alone decide what a table is and how a stop is worded.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from deft.core.files import write_pieces_atomic
from deft.tables.csv_text import CELL_CHARACTERS, COLUMNS_MOST, NO_TABLES

ROWS_AT_ONCE = 1 << 17  # of the text of a table of numbers
# All that a plain line is made of: ASCII that is seen, but for the quotation mark, and its end.
PLAIN = bytes(sorted({*range(0x20, 0x7F), ord("\n")} - {ord('"')}))
# Between these Arrow prints a float as numpy does; whole numbers, and exponents, it does not.
SAME_FROM, SAME_BELOW = 2e-4, 1e6


def plain_table(data: bytes, expected: tuple[str, ...]) -> pd.DataFrame | None:
    """Return the cells of a plain table as text, or None where it must be read strictly.

    ``expected``: names that the header must have. The frame has the header's names without blanks
    around them and the index 0, 1, 2, …, as that of the strict reader.
    """
    if not data.endswith(b"\n") or data.translate(None, PLAIN):
        return None
    if b"\n\n" in data:  # to Arrow a blank line is a row of empty cells
        return None
    header = data[: data.index(b"\n")].decode("ascii")
    if len(header) > CELL_CHARACTERS or any(data.startswith(start) for start, _ in NO_TABLES):
        return None
    names = [name.strip() for name in header.split(",")]
    if len(set(names)) < len(names) or not set(expected).issubset(names):
        return None
    if len(names) > COLUMNS_MOST:
        return None
    try:
        table = arrow_csv.read_csv(
            pa.py_buffer(data),
            arrow_csv.ReadOptions(column_names=names, skip_rows=1, use_threads=False),
            arrow_csv.ParseOptions(quote_char=False, double_quote=False, ignore_empty_lines=False),
            arrow_csv.ConvertOptions(
                check_utf8=False,
                column_types=dict.fromkeys(names, pa.large_string()),
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid:  # ragged lines: the strict reader tells which
        return None
    if any((pc.max(pc.binary_length(c)).as_py() or 0) > CELL_CHARACTERS for c in table.columns):
        return None
    text = pd.StringDtype(na_value=np.nan)
    frame: pd.DataFrame = table.combine_chunks().to_pandas(types_mapper=lambda kind: text)
    return frame


def write_numbers(table: pd.DataFrame, path: str | Path) -> Path:
    """Write a table of numbers as CSV, byte for byte as :func:`write_table` does.

    Raises
    ------
    TypeError for a column that is neither whole numbers nor float32 or float64.
    """
    ends = [","] * (len(table.columns) - 1) + ["\n"]
    header = table.iloc[:0].to_csv(index=False, lineterminator="\n")

    def pieces() -> Iterator[tuple[bytes, float]]:
        before = header.encode("utf-8")
        for start in range(0, max(1, len(table)), ROWS_AT_ONCE):
            rows = table.iloc[start : start + ROWS_AT_ONCE]
            cells = [
                part
                for name, end in zip(table.columns, ends, strict=True)
                for part in (_printed(rows[name].to_numpy()), pa.scalar(end))
            ]
            lines = pc.binary_join_element_wise(*cells, "")
            # The lines stand one behind the other in Arrow's memory.
            data = b"".join([before, *_text(lines)])
            yield data, (start + len(rows)) / max(1, len(table)) or 1.0
            before = b""

    return write_pieces_atomic(path, pieces())


def _text(lines: pa.Array | pa.ChunkedArray) -> list[memoryview]:
    chunks = lines.chunks if isinstance(lines, pa.ChunkedArray) else [lines]
    out = []
    for chunk in chunks:
        if len(chunk):
            _, offsets, data = chunk.buffers()
            edges = np.frombuffer(offsets, np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
            out.append(memoryview(data)[edges[0] : edges[-1]])
    return out


def _printed(values: np.ndarray) -> pa.Array:
    """Return numbers as numpy prints them; a NaN is an empty cell."""
    if np.issubdtype(values.dtype, np.integer):
        return pa.array(values).cast(pa.string())
    if values.dtype not in (np.float32, np.float64):
        raise TypeError(f"a column of {values.dtype} is no column of numbers")
    texts = pa.array(values).cast(pa.string())
    size = np.abs(values)
    other = ~((size >= SAME_FROM) & (size < SAME_BELOW) & (values != np.floor(values)))
    if not other.any():
        return texts
    # Mostly few distinct ones, rates of 0 and 1; told apart by their bits, for -0.0 is not 0.0.
    bits = values[other].view(f"u{values.dtype.itemsize}")
    distinct, back = np.unique(bits, return_inverse=True)
    numbers = distinct.view(values.dtype)
    printed = pa.array(np.where(np.isnan(numbers), "", numbers.astype(str)).astype(object))
    return pc.replace_with_mask(texts, pa.array(other), printed.take(pa.array(back)))
