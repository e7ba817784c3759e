"""The sealed acceptance set as a table: its parts, each once, and what names them in the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from deft.core.errors import HardStop
from deft.core.files import sha256_file
from deft.core.layout import ACCEPTANCE_TABLE
from deft.record.openings import part_digests
from deft.tables.changenet_table import is_ng, line_of, read_table
from deft.tables.coordinates import base_rows
from deft.tables.labels import first_spellings, shown

SIDE = "acceptance set"


@dataclass(frozen=True)
class Opened:
    """The parts of the set: ``rows`` relative to the workspace, ``ng`` bool (n,)."""

    table: Path
    sha256: str
    rows: pd.DataFrame
    labels: list[str]
    ng: np.ndarray
    parts: list[str]


def open_set(workspace: Path) -> Opened:
    """Read the table of the sealed set; see :func:`parts_of` for what is raised."""
    path = workspace / ACCEPTANCE_TABLE
    rows = parts_of(path, read_table(path), workspace)
    spelling = first_spellings(rows["label"])
    labels = [shown(label, spelling) for label in rows["label"]]
    parts = part_digests(zip(rows["input_path"], rows["object_name"], strict=True))
    ng = np.array([is_ng(label) for label in rows["label"]], bool)
    return Opened(path, sha256_file(path), rows, labels, ng, parts)


def parts_of(path: Path, table: pd.DataFrame, workspace: Path) -> pd.DataFrame:
    """Return the rows of the set relative to the workspace.

    Raises HardStop ``csv_invalid`` for a part that stands twice.
    """
    rows = base_rows(table, workspace)
    twice = rows.index[rows.duplicated(subset=["input_path", "object_name"])]
    if len(twice):
        raise HardStop(
            "csv_invalid",
            f"{len(twice)} part(s) stand twice in the {SIDE}: each would count twice",
            file=path,
            row=[line_of(int(i)) for i in twice],
            fix="remove the repeated rows",
        )
    return rows
