"""Which golden board a board picture is compared with.

In the order of trust: the golden of the same name, the one named as the picture's folder, the one
whose number the picture's name begins with (``01_missing_hole_05`` and ``01``, as in HRIPCB), the
only one that there is. Windows are cut at the same place of both, so a golden of another size is
none.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from deft.importers.picture_tree import Tree, golden_pictures, original, size_of

NUMBER = re.compile(r"^0*(\d+)(?=$|[_\-. ])")
SHOWN = 5
# How it was found, and whether the golden's name is the board's: its pictures are edits of one.
BY_NAME, BY_FOLDER, BY_NUMBER, ONLY = "equal name", "its folder", "board number", "the only one"


@dataclass(frozen=True)
class Golden:
    """A golden board's file; ``board``: the board that it stands for, "" = of many boards."""

    path: Path
    board: str


class BoardGoldens:
    """The golden boards of a data set.

    Parameters
    ----------
    tree: the data set's files. folder: a folder of goldens or one picture, None = the set has none.
    """

    def __init__(self, tree: Tree, folder: Path | None) -> None:
        self.folder = folder
        self._files = golden_pictures(tree, folder)
        self._sizes: dict[Path, tuple[int, int] | str] = {}
        self._by_stem: dict[str, list[Path]] = {}
        self._by_number: dict[str, list[Path]] = {}
        for path in self._files:
            self._by_stem.setdefault(path.stem.casefold(), []).append(path)
            if path.stem.isdecimal() and path.stem.isascii():
                self._by_number.setdefault(str(int(path.stem)), []).append(path)
        self._how: Counter[str] = Counter()

    def of(self, picture: Path, size: tuple[int, int]) -> tuple[Golden | None, str]:
        """Return a picture's golden and ``""``, or None and why it can have none ("": has none)."""
        if not self._files:
            return None, ""
        path, how = self._find(picture)
        if path is None:
            return None, f"no golden of it in {self.folder.name if self.folder else ''}{how}"
        own = self._size(path)
        if isinstance(own, str):
            return None, f"its golden {path.name}: {own}"
        if own != size:
            return None, (
                f"its golden {path.name} has {own[0]} x {own[1]} px, the picture "
                f"{size[0]} x {size[1]}: the same window would show another place"
            )
        self._how[how] += 1
        return Golden(path, path.stem if how in (BY_NUMBER, BY_NAME) else ""), ""

    def _find(self, picture: Path) -> tuple[Path | None, str]:
        stems = dict.fromkeys((picture.stem, original(picture.stem)))
        number = NUMBER.match(original(picture.stem))
        tries = [(self._by_stem.get(stem.casefold(), []), BY_NAME) for stem in stems]
        tries.append((self._by_stem.get(picture.parent.name.casefold(), []), BY_FOLDER))
        tries.append((self._by_number.get(number[1], []) if number else [], BY_NUMBER))
        tries.append((self._files if len(self._files) == 1 else [], ONLY))
        for found, how in tries:
            if len(found) == 1:
                return found[0], how
            if found:
                names = ", ".join(str(path) for path in found[:SHOWN])
                return None, f": {len(found)} would do ({how}): {names}"
        return None, ""

    def _size(self, path: Path) -> tuple[int, int] | str:
        if path not in self._sizes:
            try:
                self._sizes[path] = size_of(path)
            except ValueError as problem:
                self._sizes[path] = str(problem)
        return self._sizes[path]

    def notes(self) -> list[str]:
        """Return how goldens were found, in words."""
        if not self._files:
            return [
                "no golden boards: a golden is looked for among the good windows, which show other "
                "places; set import_folder.golden to a folder of good boards"
            ]
        told = ", ".join(f"{how} {count}" for how, count in sorted(self._how.items()))
        return [f"goldens from {self.folder.name if self.folder else ''} by {told or 'nothing'}"]
