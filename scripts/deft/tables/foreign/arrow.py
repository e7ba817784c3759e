"""A Parquet file as cells of text, each column with what it was."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from deft.core.errors import HardStop
from deft.core.parquet import reading_parquet
from deft.tables.csv_text import COLUMNS_MOST
from deft.tables.foreign.grid import BOOLEAN, DATE, NUMBER, Grid

INDEX = "__index_level_"  # of pandas, that wrote its row numbers along


def parquet_grid(path: Path) -> Grid:
    """Return the cells of a Parquet file; its rows count from 1, and its names are row 0.

    Raises HardStop ``csv_invalid`` for a damaged file and for columns that are no cells (lists,
    structures, bytes).
    """
    try:
        with reading_parquet(path, "csv_invalid"):
            schema = pq.read_schema(path)
            if len(schema) > COLUMNS_MOST:
                raise ValueError(f"it has {len(schema)} columns, more than {COLUMNS_MOST}")
            table = pq.read_table(path, columns=_wanted(schema), partitioning=None)
            table.validate(full=True)
            kinds = [_kind(field, path) for field in table.schema]
            columns = [_cells(column) for column in table.columns]
    except HardStop as stop:
        fix = stop.fix if stop.message.startswith("column") else "export the table again"
        raise HardStop(stop.code, stop.message, file=path, fix=fix) from None
    told = ["Parquet"]
    left = len(schema) - len(kinds)
    if left:
        told.append(f"{left} column(s) of pandas' index left out")
    names = list(table.schema.names)
    rows = [names, *map(list, zip(*columns, strict=True))] if columns else [names]
    odd = {i: kind for i, kind in enumerate(kinds) if kind}
    return Grid(path, rows, list(range(len(rows))), told, odd_columns=odd)


def _wanted(schema: pa.Schema) -> list[str] | None:
    names = [name for name in schema.names if not name.startswith(INDEX)]
    return None if len(names) == len(schema.names) else names


def _kind(field: pa.Field, path: Path) -> str:
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind):
        return ""
    if pa.types.is_string_view(kind):
        return ""
    if pa.types.is_boolean(kind):
        return BOOLEAN
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return NUMBER
    if pa.types.is_temporal(kind):
        return DATE
    raise HardStop(
        "csv_invalid",
        f"column {field.name[:60]!r} holds {str(kind)[:60]}, not text",
        file=path,
        fix="leave the column out, or write it as text",
    )


def _cells(column: pa.ChunkedArray) -> list[str]:
    return [_text(value) for value in column.to_pylist()]


def _text(value: object) -> str:
    if value is None or value != value:  # pandas writes what is missing as null or NaN
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))  # whole numbers beside missing ones
    return str(value)
