"""The files below a root, and which of its pictures a name in an annotation means.

Annotation tools write the names that pictures had where they were drawn: with other folders before
them, ``\\`` between these, a prefix or the hash of an export, ``%20`` for a space. A name is looked
for by the end of its path, below the root alone; what could mean two pictures means none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from PIL import Image

from deft.core.errors import HardStop
from deft.importers.parts import LeftOver

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".jp2")
JUNK = ("__macosx", "thumbs.db", "desktop.ini")  # and whatever begins with a dot
ORIENTATION, UPRIGHT = 0x0112, (0, 1)
# Roboflow: board_jpg.rf.<hash>, one original in several pictures. Label Studio: <8 hex>-board
ROBOFLOW = re.compile(r"[_.](jpe?g|png|bmp|tiff?|webp)\.rf\.[0-9a-z]+(\(\d+\))?$", re.IGNORECASE)
LABEL_STUDIO = re.compile(r"^[0-9a-f]{8}-(?=.)")


@dataclass(frozen=True)
class Tree:
    """The files below ``root``, sorted; ``left_over``: links that lead out of it."""

    root: Path
    files: list[Path]
    left_over: list[LeftOver] = field(default_factory=list)

    def pictures(self, *, but: Path | None = None) -> list[Path]:
        """Return the pictures, without those below ``but``."""
        found = self.ending(PICTURES)
        return [path for path in found if but is None or but not in (path, *path.parents)]

    def ending(self, endings: Iterable[str]) -> list[Path]:
        """Return the files with one of the (small-letter) endings, whatever their case."""
        return [path for path in self.files if path.suffix.lower() in tuple(endings)]

    def places(self, name: str) -> list[Path]:
        """Return the file or folders below the root that ``name`` can mean, the highest alone.

        ``name``: relative to the root, or to a folder in it (archives unpack into one of theirs).
        """
        exact = self.root / name
        if self.root in (exact, *exact.parents) and ".." not in exact.parts and exact.exists():
            return [exact]
        wanted = [part.casefold() for part in Path(name).parts]
        folders = {p for file in self.files for p in file.parents if self.root in p.parents}
        found = [
            folder
            for folder in sorted(folders | set(self.files))
            if [part.casefold() for part in folder.parts][-len(wanted) :] == wanted
        ]
        least = min((len(folder.parts) for folder in found), default=0)
        return [folder for folder in found if len(folder.parts) == least]

    def shown(self, path: Path) -> str:
        """Return a file as the user knows it: relative to the root."""
        return path.relative_to(self.root).as_posix()


def tree_of(root: str | Path | None) -> Tree:
    """Return the files below a root; raises HardStop ``missing_input`` where there is none."""
    if not root:
        raise HardStop(
            "config_invalid",
            "import_folder.root is not set",
            fix="set it to the folder that holds the data set",
        )
    root = Path(root).expanduser()
    if not root.is_dir():
        raise HardStop(
            "missing_input",
            "the data set's folder does not exist" if not root.exists() else "no folder",
            file=root,
            fix="set import_folder.root to the folder that holds the data set, unpacked",
        )
    left_over: list[LeftOver] = []
    return Tree(root, sorted(_files(root, root.resolve(), left_over)), left_over)


def golden_pictures(tree: Tree, place: Path | None) -> list[Path]:
    """Return the pictures of a folder of goldens, or the one picture; none for None.

    Raises HardStop ``missing_input`` where there is none.
    """
    if place is None:
        return []
    found = [path for path in tree.pictures() if place in (path, *path.parents)]
    if not found:
        raise HardStop(
            "missing_input",
            "no golden picture lies there",
            file=place,
            fix="set import_folder.golden to a folder below the root, or to one picture",
        )
    return found


def _files(folder: Path, home: Path, left_over: list[LeftOver]) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        left_over.append(LeftOver(str(folder), f"cannot be listed ({error.strerror})"))
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name.lower() in JUNK:
            continue
        path = Path(entry.path)
        if entry.is_symlink() and home not in Path(os.path.realpath(path)).parents:
            left_over.append(LeftOver(str(path), "a link that leads out of the data set"))
        elif entry.is_symlink() and entry.is_dir():
            left_over.append(LeftOver(str(path), "a link to a folder of the data set"))
        elif entry.is_dir():
            yield from _files(path, home, left_over)
        elif entry.is_file():
            yield path


class Names:
    """Finds pictures by the names that annotations have for them."""

    def __init__(self, pictures: Iterable[Path]) -> None:
        self._by_name: dict[str, list[Path]] = {}
        self._by_stem: dict[str, list[Path]] = {}
        for path in pictures:
            self._by_name.setdefault(path.name.casefold(), []).append(path)
            self._by_stem.setdefault(path.stem.casefold(), []).append(path)

    def named(self, name: str, beside: Path) -> list[Path]:
        """Return the pictures that ``name`` can mean: one, several of equal right, or none.

        ``name``: a path in any spelling, with or without an ending; ``beside``: the annotation's
        file, whose folders decide among pictures of the same name.
        """
        for spelling in dict.fromkeys((name, unquote(name))):
            parts = [
                part for part in re.split(r"[\\/]+", spelling.strip()) if part not in ("", ".")
            ]
            if not parts:
                continue
            last = parts[-1].casefold()
            stem = Path(last).stem if Path(last).suffix in PICTURES else last
            found = self._by_name.get(last) or self._by_stem.get(stem, [])
            found = [path for path in found if path.name == parts[-1]] or found
            if found:
                return _likest(_likest(found, parts[:-1]), list(beside.parent.parts))
        return []


def _likest(found: list[Path], folders: list[str]) -> list[Path]:
    """Return those whose folders agree with ``folders`` the furthest, from the file upwards."""
    if len(found) < 2:
        return found
    wanted = [folder.casefold() for folder in reversed(folders)]

    def agreeing(path: Path) -> int:
        own = [part.casefold() for part in reversed(path.parent.parts)]
        return next(
            (i for i, (a, b) in enumerate(zip(own, wanted, strict=False)) if a != b),
            min(len(own), len(wanted)),
        )

    best = max(map(agreeing, found))
    return [path for path in found if agreeing(path) == best]


def original(stem: str) -> str:
    """Return the name that a picture had before an export renamed it.

    >>> original("01_short_05_jpg.rf.0a1b2c3d4e5f"), original("cb0618f6-board 7"), original("B7")
    ('01_short_05', 'board 7', 'B7')
    """
    return LABEL_STUDIO.sub("", ROBOFLOW.sub("", stem))


def size_of(path: Path) -> tuple[int, int]:
    """Return (width, height) in px as the file's header says.

    Raises ValueError with the reason for a file that is no picture, or one that must be turned to
    stand upright: whether its boxes are of the turned picture nobody knows.
    """
    try:
        if not path.stat().st_size:
            raise ValueError("the picture is empty, a zero-byte file")
        with Image.open(path) as picture:
            turned = picture.getexif().get(ORIENTATION, 1)
            width, height = picture.size
    except ValueError:
        raise
    except Exception as error:  # a broken file fails in Pillow's readers in many ways
        told = " ".join(str(error).split())[:120] or type(error).__name__
        raise ValueError(f"not a picture that can be read ({told})") from None
    if turned not in UPRIGHT:
        raise ValueError(f"must be turned to stand upright (EXIF orientation {turned})")
    return width, height
