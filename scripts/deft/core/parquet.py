"""Reading parquet files that a crash or another program may have spoiled.

Arrow tells a cut or damaged file in several ways, mostly without its name. Here it is always a
HardStop that has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from deft.core.errors import HardStop
from deft.core.reading import parse_json, require_file, shortened, stop_of

if TYPE_CHECKING:  # pandas takes a second, and not every stage reads a table
    import pandas as pd

FIX = "delete the file and run the same command again, which makes it anew"
# Besides Arrow's own classes (ValueError, OSError, MemoryError among them): what its bindings let
# through where a schema or statistics are garbage.
SLIPS = (
    pa.ArrowException,
    ValueError,
    OSError,
    TypeError,
    LookupError,
    OverflowError,
    MemoryError,
    RecursionError,  # of metadata that nests without end
    AttributeError,  # of metadata with a number where an object is due
)


@contextmanager
def reading_parquet(path: str | Path, code: str = "missing_input") -> Iterator[None]:
    """Have whatever goes wrong with the file told as HardStop ``code``."""
    require_file(path, code=code)
    try:
        yield
    except FileNotFoundError:
        raise HardStop(code, "a file that this stage reads does not exist", file=path) from None
    except SLIPS as error:
        stop = stop_of(error, code) if isinstance(error, OSError) else None
        if stop is not None:
            raise stop from None
        raise HardStop(
            code, f"not a whole parquet file ({shortened(error)})", file=path, fix=FIX
        ) from None


def read_frame(
    path: str | Path,
    needed: Sequence[str] = (),
    *,
    only: bool = False,
    code: str = "missing_input",
) -> pd.DataFrame:
    """Return a parquet file as a frame.

    Parameters
    ----------
    needed: columns that must be there.
    only: read these alone.

    Raises HardStop ``code`` for a file that is absent, damaged or lacks a column.
    """
    with reading_parquet(path, code):
        check_columns(pq.read_schema(path), needed, path, code)
        table = pq.read_table(path, columns=list(needed) if only else None)
        # Text that is no UTF-8, offsets that lead elsewhere: told now and not in the middle.
        table.validate(full=True)
        odd = [f.name for f in table.schema if pa.types.is_binary(f.type)]
        if odd:
            raise ValueError(f"column(s) {odd} hold bytes, not text")
        frame: pd.DataFrame = table.to_pandas()
        return frame


def check_columns(
    schema: pa.Schema, needed: Sequence[str], path: str | Path, code: str = "missing_input"
) -> None:
    """Raise HardStop ``code`` unless a schema has every column of ``needed`` once."""
    absent = [name for name in needed if schema.names.count(name) != 1]
    if absent:
        raise HardStop(
            code,
            f"column(s) {absent} are missing or doubled; found {schema.names[:20]}",
            file=path,
            fix=FIX,
        )


def metadata_of(path: str | Path, key: bytes, code: str = "missing_input") -> dict[str, Any]:
    """Return the JSON object in a file's metadata, ``{}`` when it has none under ``key``."""
    with reading_parquet(path, code):
        found = (pq.read_schema(path).metadata or {}).get(key, b"{}")
        data = parse_json(found.decode("utf-8"))
        if not isinstance(data, dict):
            raise ValueError(f"its entry {key.decode()} is no object")
    return data
