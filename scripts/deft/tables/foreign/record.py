"""``table_sources.json`` of a workspace: which tables were made from which files, and by what.

The strict tables are what every stage reads; this file only tells a person where their rows came
from, and whether the file has changed since.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deft.core.errors import HardStop
from deft.core.files import write_json_atomic
from deft.core.layout import TABLES
from deft.core.reading import check_shape, read_json
from deft.tables.changenet_table import FIRST_ROW_LINE
from deft.tables.foreign.grid import Reading

RECORD = "table_sources.json"
GIVEN = ".given.csv"  # a table's own file, as somebody saved it, once the strict one has its place
BESIDE = (GIVEN, ".xlsx", ".xlsm", ".parquet", ".tsv", ".txt")  # endings in a table's place
SHAPE = {
    "table_sha256": str,
    "source": str,
    "source_sha256": str,
    "settings": dict,
    "understood": str,
    "row_runs": [[int]],
}
Sha = Callable[[Path], str | None]


def read_record(workspace: Path) -> dict[str, dict[str, Any]]:
    """Return name of a table -> what it was made from, ``{}`` where none was.

    Raises HardStop ``csv_invalid`` for a record that somebody has spoiled.
    """
    path = workspace / RECORD
    if not os.path.lexists(path):
        return {}
    try:
        tables = read_json(path, {"tables": dict}, code="csv_invalid")["tables"]
        found = {name: tables[name] for name in TABLES if name in tables}
        for name, entry in found.items():
            problem = check_shape(entry, SHAPE, f"tables.{name}")
            if not problem and any(len(run) != 2 for run in entry["row_runs"]):
                problem = f"tables.{name}.row_runs are no pairs"
            if problem:
                raise HardStop("csv_invalid", f"not what this project writes: {problem}")
    except HardStop as stop:
        fix = "delete it: the tables stay, and are made anew by import_table"
        raise HardStop(stop.code, stop.message, file=path, fix=fix) from None
    return found


def write_record(workspace: Path, tables: dict[str, dict[str, Any]]) -> None:
    """Write the record, whole or not at all."""
    write_json_atomic(workspace / RECORD, {"schema_version": 1, "tables": tables})


def settings_of(reading: Reading) -> dict[str, Any]:
    """Return what of the settings decides how a file is read."""
    standard = asdict(Reading())
    return {k: v for k, v in asdict(reading).items() if k != "files" and v != standard[k]}


def row_runs(numbers: Sequence[int]) -> list[list[int]]:
    """Return [line of the strict table, row of the source] wherever the two part anew.

    >>> row_runs([4, 5, 9])
    [[2, 4], [4, 9]]
    """
    runs: list[list[int]] = []
    for line, number in enumerate(numbers, start=FIRST_ROW_LINE):
        if not runs or number - line != runs[-1][1] - runs[-1][0]:
            runs.append([line, number])
    return runs


def source_row(runs: Sequence[Sequence[int]], line: int) -> int | None:
    """Return the source's row of a line of the strict table; None for a line of no row.

    >>> [source_row([[2, 4], [4, 9]], line) for line in (1, 2, 3, 4, 5)]
    [None, 4, 5, 9, 10]
    """
    at = bisect_right([run[0] for run in runs], line) - 1
    return None if at < 0 else line - runs[at][0] + runs[at][1]


def in_their_rows(workspace: Path, file: str | None, rows: Sequence[int], sha: Sha) -> str:
    """Return where rows of a strict table stand in the file it was made from, or ``""``.

    Nothing is said of a table that was changed after it was made.
    """
    if file is None or not rows:
        return ""
    for name, entry in read_record(workspace).items():
        path = workspace / TABLES[name]
        if os.path.abspath(file) == os.path.abspath(path) and sha(path) == entry["table_sha256"]:
            theirs = [source_row(entry["row_runs"], row) for row in rows[:5]]
            told = ", ".join(str(row) for row in theirs if row is not None)
            return f"{entry['source']}, row{'s' if len(theirs) > 1 else ''} {told}" if told else ""
    return ""


def beside(workspace: Path, name: str) -> list[Path]:
    """Return the files that may be meant for a table, by their names."""
    table = workspace / TABLES[name]
    found = [table.with_name(table.stem + ending) for ending in BESIDE]
    found += [table.with_name(table.stem + ending.upper()) for ending in BESIDE[1:]]
    return [path for path in found if path.is_file()]
