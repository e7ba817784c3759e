"""Bringing rows of every table into one coordinate space: relative to the workspace root.

Base, validation and KPI rows are written relative to the KPI image root; pool rows relative to
the pool's folder (their golden pictures to the KPI image root).
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from deft import layout
from deft.errors import HardStop
from deft.tables import read_table, split_pool_cell


def join(prefix: str, folder: str) -> str:
    """Return ``prefix/folder`` without doubled or leading-dot parts; ``..`` stays visible.

    >>> join("kpi/images", "./board1/")
    'kpi/images/board1'
    """
    parts = [p for p in f"{prefix}/{folder}".replace("\\", "/").split("/") if p not in ("", ".")]
    return "/".join(parts)


def image_prefix(workspace: str | Path) -> str:
    """Return the KPI image root relative to the workspace, e.g. ``kpi/images``."""
    return layout.image_root(workspace).relative_to(Path(workspace)).as_posix()


def base_rows(table: pd.DataFrame, workspace: str | Path) -> pd.DataFrame:
    """Return base, validation or KPI rows relative to the workspace root."""
    prefix = image_prefix(workspace)
    return table.assign(
        input_path=[join(prefix, p) for p in table["input_path"]],
        golden_path=[join(prefix, p) for p in table["golden_path"]],
    )


def pool_rows(table: pd.DataFrame, workspace: str | Path) -> pd.DataFrame:
    """Return ``mining_pool.csv`` rows relative to the workspace root.

    ``input_path`` may name a file; its directory counts. Rows of one part (one a light) become
    equal and stay in the frame: the caller drops duplicates.
    """
    prefix = image_prefix(workspace)
    folders = [split_pool_cell(p)[0] for p in table["input_path"]]
    return table.assign(
        input_path=[join(layout.POOL_DIR, p) for p in folders],
        golden_path=[join(prefix, p) for p in table["golden_path"]],
    )


def read_pool(workspace: str | Path, prefix_bytes: int | None = None) -> pd.DataFrame:
    """Read the pool table, or only the part of it that stood there at the run's start.

    Raises ``pool_missing`` or ``pool_empty``, else what :func:`deft.tables.read_table` raises.
    """
    path = Path(workspace) / layout.POOL_TABLE
    if not path.is_file():
        raise HardStop(
            "pool_missing",
            "the mining pool's table does not exist",
            file=path,
            fix=f"put production samples under {layout.POOL_DIR}/ and list them in mining_pool.csv",
        )
    table = read_table(path, first_bytes=prefix_bytes)
    if table.empty:
        raise HardStop(
            "pool_empty",
            "the mining pool has a header but no row",
            file=path,
            fix="append production samples to it",
        )
    return table
