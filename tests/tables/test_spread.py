"""Rows that stand for a whole table."""

from __future__ import annotations

from deft.tables.spread import spread_rows


def test_a_large_table_is_looked_at_all_over() -> None:
    rows = spread_rows(10_000, 100)
    assert len(rows) == 100 and rows[0] == 0 and rows[-1] == 9999
    assert spread_rows(5, 100).tolist() == [0, 1, 2, 3, 4] and not len(spread_rows(0, 100))
