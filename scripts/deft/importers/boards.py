"""What the readers of annotated boards share: picking pictures, and what nobody annotated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from deft.core.errors import HardStop
from deft.importers.board_goldens import BoardGoldens
from deft.importers.boxes import Cutting, MarkedPicture, classes_told, cut
from deft.importers.folder_settings import FolderSettings
from deft.importers.parts import LeftOver, Source
from deft.importers.picture_tree import Tree

SHOWN = 5
GOLDEN_FOLDERS = ("golden", "PCB_USED")  # looked for where import_folder.golden is not set


@dataclass(frozen=True)
class FoundBoards:
    """Annotated pictures, what is left over, and notes for the user."""

    pictures: list[MarkedPicture]
    left_over: list[LeftOver]
    notes: list[str]


@dataclass
class Found:
    """Collects annotated pictures; one that two files annotate has the boxes of both."""

    tree: Tree
    left_over: list[LeftOver] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _pictures: dict[Path, MarkedPicture] = field(default_factory=dict)
    _twice: int = 0

    @property
    def taken(self) -> set[Path]:
        """The pictures that have annotations."""
        return set(self._pictures)

    def only(self, found: list[Path], file: Path, name: str) -> Path | None:
        """Return the one picture that an annotation means, or tell why there is none."""
        if len(found) == 1:
            return found[0]
        shown = ", ".join(self.tree.shown(path) for path in found[:SHOWN])
        why = f"{len(found)} pictures of that name: {shown}" if found else "its picture is not here"
        self.left_over.append(LeftOver(f"{self.tree.shown(file)}: {name}", why))
        return None

    def add(self, picture: MarkedPicture) -> None:
        """Take a picture, or more boxes of one."""
        known = self._pictures.setdefault(picture.path, picture)
        if known is not picture:
            self._twice += 1
            known.size = known.size or picture.size
            seen = {(m.x1, m.y1, m.x2, m.y2, m.name) for m in known.marks}
            for mark in picture.marks:
                if (mark.x1, mark.y1, mark.x2, mark.y2, mark.name) not in seen:
                    known.marks.append(mark)

    def boards(self, unannotated: Iterable[LeftOver] = ()) -> FoundBoards:
        """Return all of it; raises HardStop ``missing_input`` where no picture has annotations."""
        pictures = sorted(self._pictures.values(), key=lambda one: one.path)
        if not pictures:
            first = self.left_over[0] if self.left_over else None
            told = f"; the first that is left over: {first.what} ({first.why})" if first else ""
            raise HardStop(
                "missing_input",
                f"no annotated picture of this layout lies below the folder{told}",
                file=self.tree.root,
                fix="set import_folder.root and import_folder.layout to what was exported; an "
                "export without pictures: copy them below the root",
            )
        empty = sum(1 for picture in pictures if not picture.marks)
        notes = [
            f"{len(pictures)} annotated picture(s), {empty} of them without a box (good boards)",
            f"boxes by class: {classes_told(pictures)}",
        ]
        if self._twice:
            notes.append(f"{self._twice} picture(s) are annotated more than once: boxes are joined")
        left_over = [*self.tree.left_over, *self.left_over, *unannotated]
        return FoundBoards(pictures, left_over, notes + self.notes)


def unannotated(tree: Tree, pictures: Iterable[Path], taken: set[Path]) -> list[LeftOver]:
    """Return the pictures without annotations, one entry a folder."""
    folders = Counter(tree.shown(path.parent) for path in pictures if path not in taken)
    return [
        LeftOver(folder, f"{count} picture(s) without annotations: good, or never looked at?")
        for folder, count in sorted(folders.items())
    ]


def read_boards(
    tree: Tree,
    settings: FolderSettings,
    layout: str,
    find: Callable[[Tree, list[Path]], FoundBoards],
    licence: Callable[[Tree], str],
) -> Source:
    """Return what a data set of annotated boards holds: what every such reader does.

    ``find``: the boards among the pictures that are no goldens. Raises HardStop as it does, and
    ``missing_input`` for goldens that are not there.
    """
    golden = golden_place(tree, settings.golden)
    found = find(tree, tree.pictures(but=golden))
    how = Cutting(
        window=settings.window,
        free_per_picture=settings.pass_per_image,
        seed=settings.seed or 0,
        levels=settings.picture_levels,
        label=settings.label,
        board=lambda path: settings.board_of(tree.shown(path.with_suffix(""))),
    )
    parts, left_over, notes = cut(tree, found.pictures, BoardGoldens(tree, golden), how)
    return Source(
        layout,
        tree.root,
        parts,
        [*found.left_over, *left_over],
        settings.licence or licence(tree),
        [*found.notes, *notes],
    )


def golden_place(tree: Tree, name: str | None) -> Path | None:
    """Return the folder of goldens (or the one picture), None where the set has none.

    Raises HardStop ``missing_input`` where ``name`` is not there, or is there several times.
    """
    if name is None:
        found = [place for usual in GOLDEN_FOLDERS for place in tree.places(usual)]
        return found[0] if len(found) == 1 and found[0].is_dir() else None
    found = tree.places(name)
    if len(found) != 1:
        shown = ": " + ", ".join(tree.shown(place) for place in found[:SHOWN]) if found else ""
        raise HardStop(
            "missing_input",
            f"import_folder.golden {name!r} is there {len(found)} times below the root{shown}",
            file=tree.root,
            fix="name the folder of goldens, or one picture, relative to import_folder.root",
        )
    return found[0]
