"""Which rows of a ChangeNet table are taken, and whether the loop has seen them."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path
from typing import TypeVar

import pandas as pd

from deft.core import layout
from deft.core.errors import HardStop
from deft.tables import changenet_table

LEARNT_FROM = (layout.BASE_TABLE, layout.VALIDATION_TABLE, layout.POOL_TABLE)
Item = TypeVar("Item")


def sample(found: list[Item], count: int) -> list[Item]:
    """Return at most ``count`` of the files, evenly spread over the list, in its order.

    >>> sample([1, 2, 3, 4, 5], 2)
    [1, 3]
    """
    most = min(count, len(found))
    return [found[i * len(found) // most] for i in range(most)]


def pairs_in_turn(rows: pd.DataFrame, count: int) -> list[int]:
    """Return the rows of a table, defective and good ones in turn, each spread over boards."""
    kinds = [
        rows[rows["label"] != changenet_table.PASS],
        rows[rows["label"] == changenet_table.PASS],
    ]
    in_turn = [over_boards(boards(kind), count) for kind in kinds]
    return [row for both in zip_longest(*in_turn) for row in both if row is not None]


def boards(rows: pd.DataFrame) -> pd.Series[str]:
    """Return each row's board: its ``boardname``, or without one the folder of its picture."""
    named = rows["boardname"] if "boardname" in rows else rows["input_path"]
    return named.where(named != "", rows["input_path"])


def over_boards(board: pd.Series[str], count: int) -> list[int]:
    """Return the rows with those of different boards in turn, boards evenly taken from the list."""
    by_board = {str(name): list(part.index) for name, part in board.groupby(board, sort=False)}
    first = sample(list(by_board), count)
    order = list(dict.fromkeys([*first, *by_board]))
    in_turn = zip_longest(*(by_board[name] for name in order))
    return [row for turn in in_turn for row in turn if row is not None]


def known_to_the_loop(rows: pd.DataFrame, workspace: Path) -> str | None:
    """Return which tables of the workspace hold these rows, None when none does.

    Rates over rows that a model was trained with, or that chose it, say little of new boards.
    """
    keys = ["input_path", "object_name"]
    wanted = set(map(tuple, rows[keys].itertuples(index=False)))
    out = []
    for name in (layout.KPI_TABLE, *LEARNT_FROM):
        path = workspace / name
        if not path.is_file():
            continue
        try:
            held = changenet_table.read_table(path, check_labels=False)
        except HardStop:
            out.append(f"perhaps some in {name}, which cannot be read")
            continue
        count = len(wanted & set(map(tuple, held[keys].itertuples(index=False))))
        if count:
            out.append(f"{count} in {name}")
    return ", ".join(out) or None
