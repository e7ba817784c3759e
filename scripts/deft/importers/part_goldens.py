"""Which golden a picture in a folder is compared with.

The one at the same path below the goldens' folder, of the same name, named as the folder of the
picture, or as its board; else the only one. What could mean two means none.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from deft.importers.folder_settings import FolderSettings, folded
from deft.importers.picture_tree import Tree, golden_pictures

SHOWN = 5


@dataclass
class PartGoldens:
    """Finds a picture's golden. Which way was taken is counted; ``why`` it has none is kept."""

    tree: Tree
    folder: Path | None
    settings: FolderSettings
    how: Counter[str] = field(default_factory=Counter)
    uses: Counter[Path] = field(default_factory=Counter)
    why: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.files = golden_pictures(self.tree, self.folder)
        self.by_place: dict[str, list[Path]] = defaultdict(list)
        self.by_name: dict[tuple[str, str], list[Path]] = defaultdict(list)
        for path in self.files:
            stem, light = self.settings.light_of(path.stem)
            self.by_name[folded(stem), light].append(path)
            if self.folder is not None and self.folder != path:
                place = path.relative_to(self.folder).with_suffix("").as_posix()
                self.by_place[folded(place)].append(path)

    def of(self, shown: PurePosixPath, stem: str, light: str, board: str) -> Path | None:
        """Return the golden of a picture, None where none or several would do."""
        inner = shown.with_suffix("").parts
        tries: list[tuple[str, list[Path]]] = []
        if self.folder not in self.files:  # else the setting names this one picture
            for at in range(len(inner) - 1):  # the longest path first
                tries.append(("path", self.by_place.get(folded("/".join(inner[at:])), [])))
            for name, how in ((stem, "name"), (shown.parent.name, "folder"), (board, "board")):
                if name:
                    tries.append((how, self._named(name, light)))
        tries.append(("being the only one", self.files if len(self.files) == 1 else []))
        for how, found in tries:
            if len(found) == 1:
                self.how[how] += 1
                self.uses[found[0]] += 1
                return found[0]
            if len(found) > 1:
                names = ", ".join(self.tree.shown(path) for path in found[:SHOWN])
                self.why[shown.as_posix()] = f"{len(found)} goldens would do (by {how}): {names}"
                return None
        self.why[shown.as_posix()] = f"no golden of it{self._below()}{self._beside(stem)}"
        return None

    def _below(self) -> str:
        return f" below {self.folder.name}" if self.folder else ""

    def _beside(self, stem: str) -> str:
        """Return a hint where goldens lie in a folder of the part's name."""
        inside = [path for path in self.files if folded(path.parent.name) == folded(stem)]
        if not inside:
            return ""
        place = self.tree.shown(inside[0].parent)
        return (
            f"; {place} is a folder of {len(inside)} picture(s): put one of them beside it, as "
            f"{stem}{inside[0].suffix} (several goldens a part: layout tao)"
        )

    def _named(self, name: str, light: str) -> list[Path]:
        own = self.by_name.get((folded(name), light), [])
        return own or self.by_name.get((folded(name), ""), [])

    def shared(self, path: Path) -> bool:
        """Return whether several pictures have this golden."""
        return self.uses[path] > 1

    def notes(self) -> list[str]:
        """Return how goldens were found, in words."""
        if not self.files:
            return []
        told = ", ".join(f"{how} {count}" for how, count in sorted(self.how.items()))
        return [f"{len(self.files)} golden(s); found by {told or 'nothing'}"]
