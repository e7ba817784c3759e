"""The ChangeNet table: its columns, how it is read and written, its label rule.

One row is one part; the picture of a light is
``{images_dir}/{input_path}/{object_name}_{light}{image_ext}``, the golden one likewise with
``golden_path``. ``input_path`` is a directory.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, SupportsInt

import numpy as np
import pandas as pd

from deft.core.errors import HardStop
from deft.core.files import to_utf8, write_pieces_atomic
from deft.score_kit.naming import image_name as image_name
from deft.tables.csv_text import decode_text, read_bytes, read_rows
from deft.tables.labels import PASS as PASS
from deft.tables.labels import clean_label as clean_label  # a table is where users look for it
from deft.tables.labels import hidden_character, label_fault
from deft.tables.labels import is_ng as is_ng
from deft.tables.many_rows import ROWS_AT_ONCE, plain_table

MANDATORY = ("input_path", "golden_path", "label", "object_name")
OPTIONAL = (
    "project",
    "boardname",
    "comp_type_2",
    "mpass_mfail",
    "is_valid",
    "comp_name",
    "part_type",
    "number_of_pins",
    "description",
    "comp_type_1",
)
COLUMNS = MANDATORY + OPTIONAL
SCORE_COLUMN = "siamese_score"
NAMES_SHOWN = 20  # of a header, in a message
FIRST_ROW_LINE = 2  # the header is line 1
PICTURE = re.compile(r"\.(png|jpe?g|bmp|tiff?)$", flags=re.IGNORECASE)  # ends a file's name
MANY_BYTES = 1 << 20  # of a table from which on Arrow reads it, where it is plain


def read_table(
    path: str | Path, *, check_labels: bool = True, first_bytes: int | None = None
) -> pd.DataFrame:
    """Read a ChangeNet table as text, or only its first ``first_bytes`` bytes (whole rows).

    Returns a frame of strings (empty cells are ``""``) with the columns as found; its index is
    0, 1, 2, … so that ``line_of(i)`` names the line in the file. How strictly the text is read
    says :mod:`deft.tables.csv_text`.

    Raises
    ------
    HardStop ``missing_input`` (no such file) or ``csv_invalid``: not UTF-8, another separator,
    quotation marks or line breaks out of place, ragged rows, missing or doubled columns, an empty
    mandatory cell or one with a control character, a label that cannot be told from another
    (:func:`deft.tables.labels.label_fault`; without ``check_labels`` a label may be PASS by case or
    spaces only).
    """
    path = Path(path)
    data = read_bytes(path, first_bytes)
    table = plain_table(data, MANDATORY) if len(data) >= MANY_BYTES else None
    if table is None:
        rows = read_rows(path, decode_text(path, data), MANDATORY)
        header = [name.strip() for name in rows[0]]
        _check_header(path, header)
        table = pd.DataFrame(rows[1:], columns=header, dtype=str)
    else:
        _check_header(path, list(table.columns))
    again = table.index[(table["label"] == "label") & (table["object_name"] == "object_name")]
    if len(again):
        raise HardStop(
            "csv_invalid",
            "a row repeats the header: were several tables joined?",
            file=path,
            row=[line_of(i) for i in again],
            fix="remove the repeated header",
        )
    check_rows(path, table, check_labels=check_labels)
    return table


def _check_header(path: Path, header: list[str]) -> None:
    for place, name in enumerate(header, start=1):
        hidden = hidden_character(name)
        if hidden or ";" in name:
            what = hidden or "a ';' (was the table saved with another separator?)"
            raise HardStop(
                "csv_invalid",
                f"the name of column {place}, {name[:60]!a}, holds {what}",
                file=path,
                row=1,
                fix="save the table as CSV, UTF-8, separated by commas only",
            )
    doubled = sorted(name or "(no name)" for name, n in Counter(header).items() if n > 1)
    if doubled:
        raise HardStop("csv_invalid", f"column(s) {doubled} stand twice", file=path, row=1)
    missing = [name for name in MANDATORY if name not in header]
    if missing:
        small = {name.lower() for name in header}
        also = " (in small letters)" if small.issuperset(missing) else ""
        raise HardStop(
            "csv_invalid",
            f"mandatory column(s) {missing} are missing; found {header[:NAMES_SHOWN]}",
            file=path,
            row=1,
            fix=f"every ChangeNet table has the columns {', '.join(MANDATORY)}{also}",
        )


def check_rows(path: str | Path, table: pd.DataFrame, *, check_labels: bool = True) -> None:
    """Raise ``csv_invalid`` for a mandatory cell that no later stage could use, or a wrong label.

    What every table must satisfy, also one that the product makes (rows of pre-generated pairs).
    """
    for column in MANDATORY:
        cells = table[column].unique().tolist()  # not a Python string for each row of ten million
        joined = "".join(cells)  # one look at all of them; nearly every table passes it
        plain = joined.isascii() and joined.isprintable() and '"' not in joined
        if plain and all(map(str.strip, cells)):
            continue
        faults = {cell: cell_fault(column, cell) for cell in cells}
        faults = {cell: fault for cell, fault in faults.items() if fault}
        if faults:
            wrong = table.index[table[column].isin(list(faults))]
            first = faults[table[column][wrong[0]]]
            raise HardStop(
                "csv_invalid",
                f"{len(wrong)} row(s) have {first}",
                file=path,
                row=[line_of(i) for i in wrong],
                fix="fill the cell, correct it or remove the row",
            )
    check_label_cells(path, table, lenient=not check_labels)


def cell_fault(column: str, cell: str) -> str | None:
    """Return what is wrong with a mandatory cell, or None."""
    if not cell or cell.isspace():
        return f"an empty {column}"
    if cell.isascii() and cell.isprintable() and '"' not in cell:
        return None
    if '"' in cell:
        return f"a quotation mark in {column}: {cell[:60]!a}"
    if column == "label":
        return None  # its own rule says more
    broken = next((c for c in cell if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")), None)
    return f"a control character (U+{ord(broken):04X}) in {column}" if broken else None


def check_label_cells(path: str | Path, table: pd.DataFrame, *, lenient: bool = False) -> None:
    """Refuse labels that training would take for something else, see :mod:`deft.tables.labels`.

    ``lenient``: let a label be PASS by case or spaces only, as foreign tables have it.
    """
    for label in table["label"].unique():
        if lenient and not is_ng(label) and label.strip(" \t").isascii():
            continue
        fault = label_fault(label)
        if fault:
            raise HardStop(
                "csv_invalid",
                fault,
                file=path,
                row=[line_of(i) for i in table.index[table["label"] == label]],
                fix="write PASS exactly, or name the defect in plain letters",
            )


def ng_of(labels: pd.Series) -> np.ndarray:
    """Return which rows (n,) bool are defects; of many rows each label is looked at once."""
    codes, names = pd.factorize(labels)
    return np.array([is_ng(str(name)) for name in names], bool)[codes]


def rows_of(table: pd.DataFrame, *columns: str) -> Iterator[tuple[Any, ...]]:
    """Yield of each row these cells, ``index`` being its index.

    By lists: a column of Arrow's hands out its cells one by one ten times slower.
    """
    each = (table.index if name == "index" else table[name] for name in columns)
    return zip(*(cells.tolist() for cells in each), strict=True)


def line_of(index: SupportsInt) -> int:
    """Return the CSV line of 0-based row ``index`` (tables with one line a row)."""
    return int(index) + FIRST_ROW_LINE


def write_table(table: pd.DataFrame, path: str | Path) -> Path:
    """Write a table as CSV (:func:`to_utf8`, ``\\n``), whole or not at all."""
    rows = max(1, len(table))
    pieces = enumerate(csv_text(table), start=1)
    return write_pieces_atomic(
        path, ((to_utf8(text), min(1.0, n * ROWS_AT_ONCE / rows)) for n, text in pieces)
    )


def csv_text(table: pd.DataFrame) -> Iterator[str]:
    """Yield a table's CSV in pieces, so that the text of millions of rows never stands whole."""
    for start in range(0, max(1, len(table)), ROWS_AT_ONCE):
        rows = table.iloc[start : start + ROWS_AT_ONCE]
        yield rows.to_csv(index=False, header=start == 0, lineterminator="\n")


def in_contract_order(table: pd.DataFrame) -> pd.DataFrame:
    """Return the fourteen columns in order (absent ones empty), then the further ones."""
    further = [name for name in table.columns if name not in COLUMNS]
    return table.reindex(columns=[*COLUMNS, *further], fill_value="")


def image_file(images_dir: str | Path, folder: str, object_name: str, light: str, ext: str) -> Path:
    """Return where TAO looks for a picture."""
    return Path(images_dir) / folder / image_name(object_name, light, ext)


def split_pool_cell(input_path: str) -> tuple[str, str | None]:
    """Split a pool ``input_path`` that may name a file into directory and file name.

    >>> split_pool_cell("images/R821@1_SolderLight.jpg")
    ('images', 'R821@1_SolderLight.jpg')
    >>> split_pool_cell("images/board7")
    ('images/board7', None)
    """
    if PICTURE.search(input_path):
        folder, _, name = input_path.replace("\\", "/").rpartition("/")
        return folder or ".", name
    return input_path, None
