"""Bringing rows of every table into one coordinate space: relative to the workspace root.

Base, validation and KPI rows are written relative to the KPI image root; pool rows relative to
the pool's folder (their golden pictures to the KPI image root), or to the root that all tables
share (:mod:`deft.tables.picture_roots`).
"""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from deft.core import layout
from deft.core.errors import HardStop
from deft.tables.changenet_table import read_table
from deft.tables.picture_roots import pool_places


def join(prefix: str, folder: str) -> str:
    """Return ``prefix/folder`` without doubled or leading-dot parts; ``..`` stays visible.

    >>> join("kpi/images", "./board1/")
    'kpi/images/board1'
    """
    parts = [p for p in f"{prefix}/{folder}".replace("\\", "/").split("/") if p not in ("", ".")]
    return "/".join(parts)


def inside_cell(cell: str, workspace: str | Path) -> str | None:
    """Return an absolute path inside the workspace relative to it; None for any other cell.

    The workspace counts as it is named and as its links resolve.
    """
    if not cell.startswith("/"):
        return None
    path = os.path.normpath(cell)
    for root in (os.path.abspath(workspace), os.path.realpath(workspace)):
        if path == root or path.startswith(f"{root.rstrip('/')}/"):
            return os.path.relpath(path, root)
    return None


def placed(prefix: str, folders: pd.Series, workspace: str | Path) -> list[str]:
    """Return cells relative to the workspace: joined to ``prefix``, or absolute ones inside it."""
    known: dict[str, str] = {}  # few distinct folders serve many rows
    cells = folders.tolist()
    for cell in cells:
        if cell not in known:
            inner = inside_cell(cell, workspace)
            known[cell] = join(prefix, cell) if inner is None else inner
    return [known[cell] for cell in cells]


def rooted_folder(
    cell: str, images_dir: Path, workspace: Path | None, file: str | Path | None, row: int
) -> Path:
    """Return the folder that a cell of a table as written names.

    An absolute one must lie inside the workspace, also after this was moved or copied.

    Raises HardStop ``path_escape`` naming ``file`` and ``row`` (a CSV line).
    """
    if workspace is None or not cell.startswith("/"):
        return images_dir / cell
    inner = inside_cell(cell, workspace)
    if inner is None:
        raise HardStop(
            "path_escape",
            f"{cell!r} leads outside the workspace {os.path.abspath(workspace)}",
            file=file,
            row=row,
            fix="write paths relative to the picture folder; they then survive a move",
        )
    return workspace / inner


def image_prefix(workspace: str | Path) -> str:
    """Return the KPI image root relative to the workspace, e.g. ``kpi/images``."""
    return layout.image_root(workspace).relative_to(Path(workspace)).as_posix()


def base_rows(table: pd.DataFrame, workspace: str | Path) -> pd.DataFrame:
    """Return base, validation or KPI rows relative to the workspace root."""
    prefix = image_prefix(workspace)
    return table.assign(
        input_path=placed(prefix, table["input_path"], workspace),
        golden_path=placed(prefix, table["golden_path"], workspace),
    )


def pool_rows(table: pd.DataFrame, workspace: str | Path) -> pd.DataFrame:
    """Return ``mining_pool.csv`` rows relative to the workspace root.

    ``input_path`` may name a file; its directory counts. Rows of one part (one a light) become
    equal and stay in the frame: the caller drops duplicates.
    """
    shared = list(dict.fromkeys((image_prefix(workspace), layout.FALLBACK_IMAGES)))

    def place(root: str, folder: str) -> str:
        inner = inside_cell(folder, workspace)
        return join(root, folder) if inner is None else inner

    def folders(column: str, roots: list[str]) -> list[str]:
        return pool_places(table, column, roots, Path(workspace), place)

    return table.assign(
        input_path=folders("input_path", [layout.POOL_DIR, *shared]),
        golden_path=folders("golden_path", [*shared, layout.POOL_DIR]),
    )


def read_pool(workspace: str | Path, prefix_bytes: int | None = None) -> pd.DataFrame:
    """Read the pool table, or only the part of it that stood there at the run's start.

    Raises ``pool_missing`` or ``pool_empty``, else what
    :func:`deft.tables.changenet_table.read_table` raises.
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
