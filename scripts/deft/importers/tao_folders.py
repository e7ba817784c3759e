"""Where the pictures of TAO's rows lie, below the root of what somebody copied."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from deft.core.errors import HardStop
from deft.importers.picture_tree import Tree
from deft.tables.changenet_table import line_of, split_pool_cell

TRIED = 50  # rows of a table that decide under which folder its pictures lie


class Folders:
    """Finds the folders that cells name, and the files in them whatever their ending's case."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self._home = Path(os.path.realpath(tree.root))
        self._listed: dict[Path, list[str]] = {}
        for path in tree.files:  # no link that leads out is among them
            self._listed.setdefault(path.parent, []).append(path.name)
        self._files: dict[Path, dict[str, str]] = {}
        self._known: dict[tuple[Path, str], Path | None] = {}

    def best(self, table: Path, images: str, frame: pd.DataFrame) -> Path:
        """Return the folder below which most of the first rows' folders lie."""
        root = self.tree.root
        options = [root / tail for tail in tails(images)] if images else []
        options += [table.parent / images] if images and not images.startswith("/") else []
        near = [table.parent, table.parent.parent]
        options += [root, root / "images", *near, *(folder / "images" for folder in near)]
        there = [folder for folder in dict.fromkeys(options) if folder.is_dir()]
        there = [folder for folder in there if self._inside(folder)]
        cells = [*frame["input_path"][:TRIED], *frame["golden_path"][:TRIED]]

        def held(folder: Path) -> int:
            return sum(1 for cell in cells if self.of(folder, cell, table, 0) is not None)

        return max(there, key=held, default=root)  # the first of equals

    def of(self, root: Path, cell: str, table: Path, row: int) -> Path | None:
        """Return the folder that a cell names below ``root``, None where there is none."""
        key = (root, cell)
        if key not in self._known:
            text = split_pool_cell(cell)[0].replace("\\", "/")
            tries = tails(text) if text.startswith("/") else [text]
            there = (Path(os.path.normpath(root / t)) for t in tries if t)
            found = next((folder for folder in there if folder.is_dir()), None)
            if found is not None and not self._inside(found):
                raise HardStop(
                    "path_escape",
                    f"{cell!r} leads out of the data set",
                    file=table,
                    row=line_of(row),
                    fix="put the pictures below import_folder.root",
                )
            self._known[key] = found
        return self._known[key]

    def _inside(self, folder: Path) -> bool:
        real = Path(os.path.realpath(folder))
        return real == self._home or self._home in real.parents

    def names(self, folder: Path) -> list[str]:
        """Return the names of the folder's files, sorted."""
        return self._listed.get(folder, [])

    def files(self, folder: Path) -> dict[str, str]:
        """Return the folder's files: name, and name with its ending in small letters -> name."""
        if folder not in self._files:
            names = self.names(folder)
            small = {f"{Path(n).stem}{Path(n).suffix.lower()}": n for n in reversed(names)}
            self._files[folder] = small | {name: name for name in names}
        return self._files[folder]

    def file(self, folder: Path, name: str) -> Path | None:
        """Return a file of the folder; the ending's case does not count."""
        path = Path(name)
        files = self.files(folder)
        found = files.get(name) or files.get(f"{path.stem}{path.suffix.lower()}")
        return None if found is None else folder / found


def tails(path: str) -> list[str]:
    """Return the ends of a path, the longest first, without the root's slash."""
    parts = [part for part in path.replace("\\", "/").split("/") if part and part != "."]
    return ["/".join(parts[i:]) for i in range(len(parts))]
