"""Under which folder a table's pictures lie: its own, or the one root that all tables share.

Training, validation and KPI rows lie under the KPI image root
(:func:`deft.core.layout.image_root`). A pool row's test picture lies beside the pool's table, or
else under that root, or else under ``images/``, where NVIDIA's current workflow keeps the pictures
of every table; its golden lies under the shared root, or else beside the pool's table. The first
place that holds the picture counts: names of parts recur from board to board, so a picture of the
same name elsewhere is another one.
"""

from __future__ import annotations

import filecmp
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd

from deft.core import layout
from deft.tables.changenet_table import line_of, rows_of, split_pool_cell

Place = Callable[[str, str], str]  # (root, cell's folder) -> folder relative to the workspace
Listed = dict[Path, dict[str, list[str]]]  # folder -> part -> names of its files
PICTURES = ("input_path", "golden_path")
ROOTS = (layout.POOL_DIR, layout.KPI_IMAGES, layout.FALLBACK_IMAGES)


def pool_places(
    rows: pd.DataFrame, column: str, roots: Sequence[str], workspace: Path, place: Place
) -> list[str]:
    """Return the folder of each pool row, relative to the workspace.

    Parameters
    ----------
    rows: ``mining_pool.csv`` as read. column: ``input_path`` or ``golden_path``.
    roots: relative to the workspace; the first that holds a row's picture counts, and the first of
        all where none does (the pre-flight then says which picture is missing).
    """
    known: dict[str, list[str]] = {}  # few distinct folders serve many rows
    listed: Listed = {}
    found = []
    for cell, name in rows_of(rows, column, "object_name"):
        folder, file = split_pool_cell(cell) if column == "input_path" else (cell, None)
        if folder not in known:
            options = [place(root, _below(root, folder)) for root in roots]
            known[folder] = _existing(options, workspace)
        where = known[folder]
        if len(where) > 1:
            held = (at for at in where if _pictures(workspace / at, name, file, listed))
            found.append(next(held, where[0]))
        else:
            found.append(where[0])
    return found


def _below(root: str, folder: str) -> str:
    """Return a cell's folder below a root; a leading ``images/`` names the shared root itself."""
    if root == layout.POOL_DIR or folder.startswith("/"):
        return folder
    head, _, rest = folder.removeprefix("./").partition("/")
    return rest or "." if head == layout.FALLBACK_IMAGES else folder


def _existing(folders: list[str], workspace: Path) -> list[str]:
    """Return the folders that are there, each place once; the first where none is."""
    there: dict[str, str] = {}
    for folder in folders:
        # A cell that climbs is judged by its text alone, before anything outside is looked at.
        if ".." not in folder.split("/") and os.path.isdir(workspace / folder):
            there.setdefault(os.path.realpath(workspace / folder), folder)
    return list(there.values()) or folders[:1]


def _names(folder: Path, listed: Listed) -> dict[str, list[str]]:
    """Return part -> its files in a folder; a part's name ends before a ``_`` or the extension."""
    if folder not in listed:
        out = listed[folder] = {}
        try:
            names = sorted(os.listdir(folder))
        except (OSError, ValueError):  # no such folder, or none that may be read: all are missing
            names = []
        for name in names:
            pieces = Path(name).stem.split("_")
            for count in range(1, len(pieces) + 1):
                out.setdefault("_".join(pieces[:count]), []).append(name)
    return listed[folder]


def _pictures(folder: Path, part: str, file: str | None, listed: Listed) -> list[Path]:
    if file is not None:
        return [folder / file] if os.path.isfile(folder / file) else []
    return [folder / name for name in _names(folder, listed).get(part, [])]


def roots_of(rows: pd.DataFrame) -> dict[str, int]:
    """Return under which root the test pictures of a table lie -> how many rows, most first.

    ``rows``: relative to the workspace.
    """
    known: dict[str, str] = {}
    for folder in rows["input_path"].unique():
        below = (root for root in ROOTS if f"{folder}/".startswith(f"{root}/"))
        known[folder] = next(below, ".")
    return {root: int(n) for root, n in Counter(rows["input_path"].map(known)).most_common()}


def other_root(workspace: str | Path) -> Path | None:
    """Return the image root that is not taken though it is there, and is another folder."""
    root = Path(workspace)
    taken = layout.image_root(root)
    for name in (layout.KPI_IMAGES, layout.FALLBACK_IMAGES):
        path = root / name
        if path.is_dir() and path.resolve() != taken.resolve():
            return path
    return None


def doubtful(rows: pd.DataFrame, taken: Path, other: Path) -> tuple[list[int], list[int]]:
    """Return the CSV lines with a picture only under ``other``, and with another one there.

    ``rows``: a table as read, its cells relative to an image root; absolute cells are plain.
    """
    listed: Listed = {}
    only, unlike = [], []
    columns = [rows[name] for name in (*PICTURES, "object_name")]
    for index, *cells, name in zip(rows.index, *columns, strict=True):
        plain = [c for c in cells if not c.startswith("/") and ".." not in c.split("/")]
        pairs = [
            [_pictures(root / cell, name, None, listed) for root in (taken, other)]
            for cell in plain
        ]
        if any(there and not here for here, there in pairs):
            only.append(line_of(index))
        elif any(_differ(here, there) for here, there in pairs):
            unlike.append(line_of(index))
    return only, unlike


def _differ(one: Iterable[Path], other: Iterable[Path]) -> bool:
    """Return whether files of one name are not of the same bytes."""
    by_name = {path.name: path for path in one}
    both = [(path, by_name[path.name]) for path in other if path.name in by_name]
    return any(not filecmp.cmp(path, twin, shallow=False) for path, twin in both)
