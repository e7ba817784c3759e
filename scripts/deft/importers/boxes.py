"""Boards with boxes drawn around their defects, as parts: windows around the boxes, and others.

A window around a box is a defective part; windows that touch no box are good ones (what nobody
marked counts as good). The golden of a window is the same window of the golden board. A class
that the label map calls PASS says that the set marks its good parts itself: then it is cut at its
boxes alone.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from deft.core.progress import Progress
from deft.importers.board_goldens import BoardGoldens
from deft.importers.board_shift import UNLIKE, Shift, shift_of
from deft.importers.deeppcb_source import Box
from deft.importers.deeppcb_windows import Window, defect_windows, free_windows
from deft.importers.parts import FoundPart, LeftOver, Picture
from deft.importers.picture_tree import Tree, original, size_of
from deft.tables.changenet_table import PASS

TYPICAL = 0.9  # this share of the boxes is no longer than the one that sets the window's side
ROOM, ROOM_OF_ONE = 2.0, 1.25  # window over box: of the typical one, and the least of each
STEP_PX, SIDES_PX = 32, (64, 512)
LEAST_PX = 16  # a board must be larger
SIZE_OFF_PX = 2  # by which labelImg's sizes are off without a reason
OUT_OFF_PX = 1.0  # by which a box may leave the picture: a rounding


@dataclass(frozen=True)
class Mark:
    """A box on a board picture, in px from the upper left corner; ``x2``, ``y2`` past its end.

    ``name``: the class, None where the place is known and not what lies there (no good part is cut
    there); ``origin``: the record in the annotation's file, as ``line 3``.
    """

    x1: float
    y1: float
    x2: float
    y2: float
    name: str | None
    origin: str


@dataclass
class MarkedPicture:
    """A board picture and its boxes. ``size``: (width, height) in px that the annotation names."""

    path: Path
    origin: str
    marks: list[Mark] = field(default_factory=list)
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Cutting:
    """How boards are cut.

    ``window``: side in px, None = by the boxes; ``free_per_picture``: good windows wanted of each
    picture; ``levels``: full scale of pictures deeper than 8 bits; ``label``: class -> PASS, a
    defect's name or "" (no part is made of it); ``board``: picture -> its board, None where the
    user has no rule.
    """

    window: int | None = None
    free_per_picture: int = 12
    seed: int = 0
    levels: int | None = None
    label: Callable[[str], str] = str
    board: Callable[[Path], str | None] = lambda path: None


def cut(
    tree: Tree, pictures: Iterable[MarkedPicture], goldens: BoardGoldens, how: Cutting
) -> tuple[list[FoundPart], list[LeftOver], list[str]]:
    """Return the parts of all pictures in the order of their names, what is left over, notes."""
    left_over: list[LeftOver] = []
    usable: list[tuple[MarkedPicture, tuple[int, int], list[Mark]]] = []
    for picture in sorted(pictures, key=lambda one: one.path):
        shown = tree.shown(picture.path)
        try:
            size = size_of(picture.path)
            _check_size(picture, size)
            marks = _inside(picture, size, shown, left_over)
        except ValueError as problem:
            left_over.append(LeftOver(shown, str(problem)))
            continue
        usable.append((picture, size, marks))
    named = [mark for _, _, marks in usable for mark in marks if mark.name is not None]
    says_good = any(how.label(mark.name) == PASS for mark in named if mark.name is not None)
    side = how.window or typical_side(named)
    notes = [
        f"windows of {side} px"
        + ("" if how.window else ", twice the longer side of nine in ten boxes"),
        "good parts are the boxes whose class means PASS; nothing else is cut"
        if says_good
        else "what no box touches counts as good: up to "
        f"{how.free_per_picture} windows of each picture",
    ]
    parts: list[FoundPart] = []
    wider, cut_off = 0, 0
    shifts: list[tuple[Shift, str]] = []
    progress = Progress(len(usable), "lay boards on their goldens")
    for picture, size, marks in usable:
        progress(1)
        golden, why = goldens.of(picture.path, size)
        shift = Shift(0, 0, 1.0)
        if golden is not None:
            try:
                shift = shift_of(picture.path, golden.path, size, how.levels)
            except ValueError as problem:
                why = str(problem)
            shifts.append((shift, tree.shown(picture.path)))
        if why:
            left_over.append(LeftOver(tree.shown(picture.path), why))
            continue
        found = _windows(tree, picture, size, marks, side, how, says_good, shift)
        there = [one for one in found if _inside_golden(one[0], shift, size)]
        cut_off += len(found) - len(there)
        wider += sum(1 for window, _ in there if window.side > side)
        board = how.board(picture.path) or (golden and golden.board) or original(picture.path.stem)
        parts += _parts(picture, board, golden.path if golden else None, there, shift)
    progress.close()
    skipped = Counter(m.name for m in named if m.name is not None and not how.label(m.name))
    if skipped:
        told = ", ".join(f"{name} {count}" for name, count in sorted(skipped.items()))
        notes.append(f"labels leaves boxes out ({told}); nothing good is cut there")
    if wider:
        notes.append(f"{wider} window(s) are wider, because their box is")
    if cut_off:
        notes.append(f"{cut_off} window(s) lie beyond the edge of the golden board: no part")
    notes += goldens.notes() + _shifts_told(shifts)
    return parts, left_over, notes


def _check_size(picture: MarkedPicture, size: tuple[int, int]) -> None:
    """Raise ValueError where the boxes were drawn on a picture of another size."""
    if min(size) < LEAST_PX:
        raise ValueError(f"the picture has {size[0]} x {size[1]} px")
    said = picture.size
    if said is None or min(said) <= 0:  # labelImg writes zeros for what it could not open
        return
    if any(abs(a - b) > SIZE_OFF_PX for a, b in zip(said, size, strict=True)):
        turned = ", turned" if said == size[::-1] else ""
        raise ValueError(
            f"{picture.origin} was drawn on {said[0]} x {said[1]} px{turned}, the picture has "
            f"{size[0]} x {size[1]}: put back the picture that was annotated"
        )


def _inside(
    picture: MarkedPicture, size: tuple[int, int], shown: str, left_over: list[LeftOver]
) -> list[Mark]:
    """Return the boxes, clamped to the picture; tell of those that cannot be parts.

    Raises ValueError for a box off the picture: then the others lie wrong too.
    """
    found = []
    for mark in picture.marks:
        where = f"{picture.origin}, {mark.origin}"
        corners = (mark.x1, mark.y1, mark.x2, mark.y2)
        if not all(map(math.isfinite, corners)) or (
            mark.x2 <= 0 or mark.y2 <= 0 or mark.x1 >= size[0] or mark.y1 >= size[1]
        ):
            raise ValueError(
                f"a box lies outside of the picture of {size[0]} x {size[1]} px ({where}): "
                "its others cannot be trusted"
            )
        over = max(-mark.x1, -mark.y1, mark.x2 - size[0], mark.y2 - size[1])
        if over > max(OUT_OFF_PX, 0.1 * max(mark.x2 - mark.x1, mark.y2 - mark.y1)):
            raise ValueError(f"a box leaves the picture by {over:.0f} px ({where})")
        x1, y1 = max(0, math.floor(mark.x1)), max(0, math.floor(mark.y1))
        x2, y2 = min(size[0], math.ceil(mark.x2)), min(size[1], math.ceil(mark.y2))
        name = mark.name
        if mark.x2 <= mark.x1 or mark.y2 <= mark.y1:
            left_over.append(LeftOver(f"{shown}: {where}", "an empty box"))
            name = None
        elif name is None:
            left_over.append(LeftOver(f"{shown}: {where}", "no class is told"))
        found.append(Mark(x1, y1, max(x2, x1 + 1), max(y2, y1 + 1), name, mark.origin))
    return list(dict.fromkeys(found))


def typical_side(marks: Sequence[Mark]) -> int:
    """Return the side in px that leaves room around nine of ten boxes."""
    longer = sorted(max(mark.x2 - mark.x1, mark.y2 - mark.y1) for mark in marks)
    typical = longer[int(TYPICAL * (len(longer) - 1))] if longer else 0
    low, high = SIDES_PX
    return min(max(math.ceil(ROOM * typical / STEP_PX) * STEP_PX, low), high)


def _windows(
    tree: Tree,
    picture: MarkedPicture,
    size: tuple[int, int],
    marks: list[Mark],
    side: int,
    how: Cutting,
    says_good: bool,
    shift: Shift,
) -> list[tuple[Window, str]]:
    """Return windows, each with its origin."""
    words = hashlib.sha256(tree.shown(picture.path).encode()).digest()[:8]
    rng = np.random.default_rng([how.seed, int.from_bytes(words, "little")])
    shape, limit = size[::-1], min(size)
    boxes, found = [], []
    for mark in marks:
        label = how.label(mark.name) if mark.name is not None else ""
        box = Box(int(mark.x1), int(mark.y1), int(mark.x2), int(mark.y2), label)
        boxes.append(box)
        if label:
            needed = math.ceil(ROOM_OF_ONE * max(box.x2 - box.x1, box.y2 - box.y1))
            own = min(max(side, needed), limit)
            window = defect_windows([box], shape, own, rng)[0]
            found.append((window, f"{picture.origin}, {mark.origin}"))
    count = 0 if says_good else how.free_per_picture

    def wanted(window: Window) -> bool:
        return _inside_golden(window, shift, size)

    for window in free_windows(shape, boxes, min(side, limit), count, rng, wanted):
        found.append((window, f"{picture.origin}, x {window.x} y {window.y}"))
    return found


def _inside_golden(window: Window, shift: Shift, size: tuple[int, int]) -> bool:
    """Return whether the golden board has the place that a window shows."""
    return all(
        0 <= at - off and at - off + window.side <= limit
        for at, off, limit in zip((window.x, window.y), (shift.dx, shift.dy), size, strict=True)
    )


def _shifts_told(shifts: list[tuple[Shift, str]]) -> list[str]:
    """Return what was found of how boards lie on their goldens, in words."""
    notes = []
    moved = [(max(abs(shift.dx), abs(shift.dy)), name) for shift, name in shifts]
    moved = [one for one in moved if one[0]]
    if moved:
        most, name = max(moved)
        notes.append(
            f"{len(moved)} picture(s) lie off their golden board, {name} by {most} px: the windows "
            "of the golden are moved"
        )
    unlike = [(shift.match, name) for shift, name in shifts if shift.match < UNLIKE]
    if unlike:
        worst, name = min(unlike)
        notes.append(
            f"{len(unlike)} picture(s) hardly agree with their golden board, {name} worst (match "
            f"{worst:.2f}; 1 = equal): is it the golden of another board, turned or scaled?"
        )
    return notes


def _parts(
    picture: MarkedPicture,
    board: str,
    golden: Path | None,
    windows: list[tuple[Window, str]],
    shift: Shift,
) -> list[FoundPart]:
    parts = []
    for number, (window, origin) in enumerate(windows, start=1):
        box = (window.x, window.y, window.side, window.side)
        there = (window.x - shift.dx, window.y - shift.dy, window.side, window.side)
        parts.append(
            FoundPart(
                name=f"{picture.path.stem}@{number}",
                board=board,
                label=window.label,
                pictures={"": Picture(picture.path, box)},
                origin=origin,
                goldens={"": [Picture(golden, there)]} if golden else {},
                part_type=golden.stem if golden else "",
            )
        )
    return parts


def classes_told(pictures: Iterable[MarkedPicture]) -> str:
    """Return how many boxes each class has, in words."""
    counts = Counter(mark.name for picture in pictures for mark in picture.marks if mark.name)
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"
