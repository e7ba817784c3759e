"""From somebody's cells to the strict table: its header, columns and rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from deft.core.errors import HardStop
from deft.core.reading import read_bytes
from deft.tables.changenet_table import COLUMNS, FIRST_ROW_LINE, MANDATORY, check_rows
from deft.tables.foreign.arrow import parquet_grid
from deft.tables.foreign.cells import (
    check_kinds,
    check_lost,
    check_text,
    relabelled,
    tidied,
    without_prefix,
)
from deft.tables.foreign.grid import HEADER_WITHIN, Grid, Reading, is_header, places, plain_name
from deft.tables.foreign.text import text_grid
from deft.tables.foreign.workbook import workbook_grid

NAMES_SHOWN = 12  # of a header, in a message


@dataclass
class Converted:
    """The strict table, the source's row number of each of its rows, and what was understood.

    ``labels``: ``OK→PASS``, or a label that stays as it is, -> rows.
    """

    table: pd.DataFrame
    numbers: list[int]
    told: list[str]
    labels: dict[str, int]

    def sentence(self) -> str:
        """Return what was understood, in one line."""
        labels = ", ".join(f"{label} {count}" for label, count in self.labels.items())
        return f"{', '.join(self.told)}, {len(self.table)} rows: {labels}"


def read_foreign(path: str | Path, reading: Reading) -> Converted:
    """Read a table in any of the known forms, by its content and not by its name's ending.

    Raises HardStop ``missing_input`` or ``csv_invalid``; rows are those of the file itself.
    """
    path = Path(path)
    data = read_bytes(path)
    if data.startswith(b"PAR1"):
        grid = parquet_grid(path)
    elif data.startswith(b"PK\x03\x04"):
        grid = workbook_grid(path, data, reading)
    elif data.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        raise _stop(path, "the table is an .xls workbook, or a workbook with a password",
                    "save it as .xlsx without a password, or as CSV, UTF-8")  # fmt: skip
    else:
        grid = text_grid(path, data, reading)
    return converted(grid, reading)


def converted(grid: Grid, reading: Reading) -> Converted:
    """Return the strict table of some cells; raises ``csv_invalid`` as :func:`read_foreign`."""
    head = _header_row(grid, reading)
    header, told = [name.strip() for name in grid.rows[head]], list(grid.told)
    if grid.numbers[head] > 1:
        told.append(f"header in row {grid.numbers[head]}")
    kept = [i for i in range(head + 1, len(grid.rows)) if any(map(str.strip, grid.rows[i]))]
    if not kept:
        raise _stop(grid.file, "the table has a header but no row", "export it again")
    blank = kept[-1] - head - len(kept)
    if blank:
        told.append(f"{blank} empty row(s) left out")
    columns = _columns(grid, header, kept, grid.numbers[head], reading)
    _check_rows_fit(grid, header, kept, columns, told)
    _check_merged(grid, kept, columns)
    for name in MANDATORY:
        check_kinds(grid, kept, columns[name], name, reading)
    cells = {name: [cell(grid.rows[i], at) for i in kept] for name, at in columns.items()}
    numbers = [grid.numbers[i] for i in kept]
    tidied(cells, told)
    told += without_prefix(grid.file, numbers, cells, reading)
    cells["label"], labels = relabelled(grid.file, numbers, cells["label"], reading)
    for name in MANDATORY:
        check_lost(grid.file, numbers, name, cells[name], reading)
    check_text(grid.file, numbers, cells)
    table = pd.DataFrame(cells, dtype=str)
    table.index = pd.Index([number - FIRST_ROW_LINE for number in numbers])  # line_of gives it back
    check_rows(grid.file, table)
    return Converted(table.reset_index(drop=True), numbers, told, labels)


def cell(row: list[str], at: int) -> str:
    """Return a cell; rows may be shorter than the header."""
    return row[at] if at < len(row) else ""


def _header_row(grid: Grid, reading: Reading) -> int:
    tried = [
        i
        for i in range(len(grid.rows))
        if grid.numbers[i] == reading.header_row
        or (reading.header_row is None and i < HEADER_WITHIN)
    ]
    found = [i for i in tried if is_header(grid.rows[i], reading.columns)]
    if found:
        return found[0]
    rows = [[name.strip() for name in grid.rows[i]] for i in tried]
    # The one that has most of the names, else the longest, is likely meant.
    shown = max(rows, key=lambda row: (len(places(row, reading.columns)), len(row)), default=[])
    told = ", ".join(repr(name[:40]) for name in shown[:NAMES_SHOWN]) or "nothing"
    lost = [f"{name}: {their}" for name, their in reading.columns.items() if their not in shown]
    if lost:
        raise _stop(
            grid.file,
            f"import_table.columns names {', '.join(lost)}, which no header has; found {told}",
            "write the names as they stand in the table",
        )
    missing = [name for name in MANDATORY if name not in places(shown, reading.columns)]
    where = "no row" if reading.header_row is None else f"row {reading.header_row} is none that"
    raise _stop(
        grid.file,
        f"{where} names the mandatory columns; missing {', '.join(missing)}, found {told}",
        f"say which columns they are: import_table.columns: {{{missing[0]}: NAME}}"
        if missing
        else "set import_table.header_row right",
    )


def _columns(
    grid: Grid, header: list[str], kept: list[int], row: int, reading: Reading
) -> dict[str, int]:
    """Return the new table's columns by their places: the known ones first, then the further."""
    known = places(header, reading.columns)
    absent = [f"{name}: {their}" for name, their in reading.columns.items() if name not in known]
    if absent:
        told = f"import_table.columns names {', '.join(absent)}, which the header does not have"
        raise _stop(grid.file, told, f"it has {', '.join(header[:NAMES_SHOWN])}", [row])
    found = {name: known[name] for name in COLUMNS if name in known}
    for at, name in enumerate(header):
        if at in known.values():
            continue
        if not name:
            full = [grid.numbers[i] for i in kept if cell(grid.rows[i], at).strip()]
            if full:
                told = f"column {at + 1} has cells, and no name in the header"
                raise _stop(grid.file, told, "give it a name, or remove it", full)
        elif name in found or _also(name, found, header):
            told = f"two columns are, or would be, called {name!r}"
            raise _stop(grid.file, told, "rename or remove one of them in the table", [row])
        else:
            found[name] = at
    return found


def _also(name: str, found: dict[str, int], header: list[str]) -> bool:
    """Return whether a further column may be the one that was taken for a known one."""
    return any(
        plain_name(known) == plain_name(name) == plain_name(header[at])
        for known, at in found.items()
        if known in COLUMNS
    )


def _check_rows_fit(
    grid: Grid, header: list[str], kept: list[int], columns: dict[str, int], told: list[str]
) -> None:
    """Refuse rows with cells beyond the header, or without a mandatory one."""
    width, needed = len(header), max(columns[name] for name in MANDATORY) + 1
    long = [i for i in kept if any(map(str.strip, grid.rows[i][width:]))]
    if long:
        raise _stop(
            grid.file,
            f"{len(long)} row(s) have more cells than the header's {width}",
            "put cells that hold the separator in quotation marks",
            [grid.numbers[i] for i in long],
        )
    short = [i for i in kept if len(grid.rows[i]) < width]
    cut = [i for i in short if len(grid.rows[i]) < needed]
    if cut:
        raise _stop(
            grid.file,
            f"{len(cut)} row(s) end before a mandatory column (first: {len(grid.rows[cut[0]])} "
            f"cells of {width})",
            "mend the rows: was a line break in a cell?",
            [grid.numbers[i] for i in cut],
        )
    if short:  # as Excel does with empty last columns
        told.append(f"{len(short)} row(s) without their empty last cells")
    again = [i for i in kept if [name.strip() for name in grid.rows[i][:width]] == header]
    if again:
        told_again = "a row repeats the header: were several tables joined?"
        raise _stop(
            grid.file, told_again, "remove the repeated header", [grid.numbers[i] for i in again]
        )


def _check_merged(grid: Grid, kept: list[int], columns: dict[str, int]) -> None:
    numbers = Counter(grid.numbers[i] for i in kept)
    first, last = min(numbers), max(numbers)
    for name, top, bottom, left, right in grid.merged:
        if bottom >= first and top <= last and any(left <= at <= right for at in columns.values()):
            told = f"the cells {name} are merged: only the first of them has a value"
            raise _stop(grid.file, told, "split them, and write the value into each row", [top])


def _stop(path: Path, message: str, fix: str, rows: list[int] | None = None) -> HardStop:
    return HardStop("csv_invalid", message, file=path, row=rows, fix=fix)
