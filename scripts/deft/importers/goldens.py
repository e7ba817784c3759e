"""Goldens for parts that have none: the good part of the same type that looks most like each.

Some good parts are set aside as goldens and become no rows, so that no picture is both somebody's
golden and a row's own test. Which ones depends on the seed and the names alone. Each other part is
compared with those that a small grey copy says are nearest, laid on them by shift and rotation
(:mod:`deft.causes.measure`), and gets the one that matches best. How well it does is the pair's
quality, 0 (nothing alike) to 1 (equal but for brightness and contrast).
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np
import pandas as pd
from PIL import Image

from deft.causes.measure import Measured, measure
from deft.core.errors import HardStop
from deft.core.progress import Progress
from deft.importers.parts import FoundPart, LeftOver, Picture
from deft.tables.changenet_table import write_table
from deft.tables.differing import SIDE_PX
from deft.tables.fingerprint import decode

CELLS = 16  # a side of the small copy by which candidates are found
BATCH = 256  # parts between two reports
Told = TypeVar("Told")
Read = Callable[[Picture], np.ndarray]
WORST = 5  # pairs that are told
TO_LEARN = (None, "base", "pool")  # roles that may lose good parts to the goldens
COLUMNS = (
    *("object_name", "part_type", "label", "picture", "golden"),
    *("quality", "shift_pct", "rotation_deg"),
)


@dataclass(frozen=True)
class Search:
    """How goldens are looked for.

    Attributes
    ----------
    share, most: of the good boards of a type, the share and the largest number that become
        goldens; at least one does. candidates: goldens that are laid on a part, 1 or more.
    floor: quality below which a part becomes no row: it shows another thing than any golden, or
        the same in another pose. seed: chooses the goldens.
    """

    share: float = 0.1
    most: int = 64
    candidates: int = 3
    floor: float = 0.3
    seed: int = 0


@dataclass(frozen=True)
class Pair:
    """A part and its golden. ``shift_pct``, ``rotation_deg``: how far it lies off (of the side)."""

    part: FoundPart
    golden: Path
    quality: float
    shift_pct: float
    rotation_deg: float


@dataclass(frozen=True)
class Goldens:
    """Parts with goldens (in their order), how they were paired, who became a golden, the rest."""

    parts: list[FoundPart]
    pairs: list[Pair]
    reserved: list[FoundPart]
    left_over: list[LeftOver]
    notes: list[str]


@dataclass(frozen=True)
class _Seen:
    """A part's pictures by light: grey (SIDE_PX, SIDE_PX) uint8, small copies, pixel digest."""

    part: FoundPart
    grey: dict[str, np.ndarray]
    small: dict[str, np.ndarray]
    digest: str


def pixels_of(picture: Picture) -> np.ndarray:
    """Return a picture or its window, uint8 (height, width, 3); raises as :func:`decode` does."""
    image = decode(picture.path)
    if picture.box is not None:
        x, y, width, height = picture.box
        image = image.crop((x, y, x + width, y + height))
    return np.asarray(image)


def find_goldens(
    parts: Sequence[FoundPart], how: Search | None = None, read: Read = pixels_of
) -> Goldens:
    """Return the parts with a golden for each that had none; parts that have goldens stay as is.

    ``read``: a picture -> uint8 pixels, (height, width) or (height, width, 3), called by several
    threads; ValueError or HardStop with the reason for one that cannot be used.

    Raises
    ------
    HardStop ``missing_input`` where no part can get a golden.
    """
    how = how or Search()
    bare = [part for part in parts if not part.goldens]
    if not bare:
        return Goldens(list(parts), [], [], [], [])
    reserved = _reserved(bare, how)
    kept = {id(part) for part in reserved}
    rows = [part for part in bare if id(part) not in kept]
    left_over: list[LeftOver] = []
    progress = Progress(len(bare), "golden search")
    known: dict[str, list[_Seen]] = {}
    for part, seen in zip(reserved, _each(reserved, read, progress, _as_is), strict=True):
        if isinstance(seen, _Seen):
            known.setdefault(part.part_type, []).append(seen)
        else:
            left_over.append(LeftOver(part.origin, seen))
    digests = {seen.digest: seen for found in known.values() for seen in found}

    def paired(seen: _Seen | str) -> Pair | str:
        if isinstance(seen, str):
            return seen
        if seen.digest in digests:
            return f"the same pixels as the golden {digests[seen.digest].part.origin}"
        return _best(seen, known.get(seen.part.part_type, []), how)

    found: dict[int, Pair] = {}
    below: Counter[str] = Counter()
    for part, pair in zip(rows, _each(rows, read, progress, paired), strict=True):
        if isinstance(pair, str):
            left_over.append(LeftOver(part.origin, pair))
        elif pair.quality < how.floor:
            below[part.label] += 1
            why = f"its best golden has quality {pair.quality:.2f}, {how.floor} is the floor"
            left_over.append(LeftOver(part.origin, why))
        else:
            found[id(part)] = pair
    progress.close()
    if not found:
        first = f"; the first: {left_over[0].what}: {left_over[0].why}" if left_over else ""
        raise HardStop(
            "missing_input",
            f"none of {len(bare)} part(s) without goldens can get one{first}",
            fix="name goldens of your own, or lower import_folder.golden_floor",
        )
    pairs = list(found.values())
    out = [
        found[id(part)].part if id(part) in found else part
        for part in parts
        if part.goldens or id(part) in found
    ]
    return Goldens(out, pairs, reserved, left_over, _notes(bare, reserved, pairs, below, how))


def write_pairs(pairs: Sequence[Pair], root: Path, path: str | Path) -> None:
    """Write one row for each pair, worst first; pictures relative to ``root`` where below it."""
    rows = [
        {
            "object_name": pair.part.name,
            "part_type": pair.part.part_type,
            "label": pair.part.label,
            "picture": _shown(next(iter(pair.part.pictures.values())).path, root),
            "golden": _shown(pair.golden, root),
            "quality": f"{pair.quality:.4f}",
            "shift_pct": f"{pair.shift_pct:.2f}",
            "rotation_deg": f"{pair.rotation_deg:.2f}",
        }
        for pair in sorted(pairs, key=lambda one: (one.quality, one.part.name))
    ]
    write_table(pd.DataFrame(rows, columns=list(COLUMNS)), Path(path))


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _unit(part: FoundPart) -> str:
    return part.board or f"{part.part_type}/{part.name}/{part.origin}"


def _reserved(parts: Sequence[FoundPart], how: Search) -> list[FoundPart]:
    """Return the good parts that become goldens: whole boards, in an order that names give."""
    spoiled = {_unit(p) for p in parts if not p.good or p.role not in TO_LEARN}
    units: dict[str, set[str]] = {}
    for part in parts:
        if _unit(part) not in spoiled:
            units.setdefault(part.part_type, set()).add(_unit(part))

    def place(unit: str) -> str:
        return hashlib.sha256(f"{how.seed}:{unit}".encode("utf-8", "surrogateescape")).hexdigest()

    taken: set[str] = set()
    for own in units.values():
        count = min(how.most, max(1, round(how.share * len(own))))
        taken.update(sorted(own, key=place)[:count])
    return [part for part in parts if _unit(part) in taken]


def _as_is(seen: _Seen | str) -> _Seen | str:
    return seen


def _each(
    parts: Sequence[FoundPart],
    read: Read,
    progress: Progress,
    then: Callable[[_Seen | str], Told],
) -> Iterator[Told]:
    """Yield ``then`` of each part's pictures, in order; threads decode and compare."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(parts), BATCH):
            batch = parts[start : start + BATCH]
            yield from pool.map(lambda part: then(_look(part, read)), batch)
            progress(len(batch))


def _look(part: FoundPart, read: Read) -> _Seen | str:
    """Return what a part's pictures show, or why they cannot be read."""
    grey, small = {}, {}
    digest = hashlib.sha256()
    for light, picture in sorted(part.pictures.items()):
        try:
            pixels = read(picture)
        except (HardStop, ValueError) as problem:
            why = problem.message if isinstance(problem, HardStop) else str(problem)
            return f"{picture.path.name}: {why}"
        digest.update(f"{light} {pixels.shape} ".encode() + pixels.tobytes())
        square = Image.fromarray(pixels).convert("L")
        grey[light] = np.asarray(square.resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX))
        small[light] = _small(grey[light])
    return _Seen(part, grey, small, digest.hexdigest())


def _small(grey: np.ndarray) -> np.ndarray:
    """Return (CELLS * CELLS,) float32 of zero mean and unit length; zeros for a flat picture."""
    step = SIDE_PX // CELLS
    cells = grey.reshape(CELLS, step, CELLS, step).mean(axis=(1, 3)).ravel()
    centred = cells - cells.mean()
    length = float(np.linalg.norm(centred))
    unit: np.ndarray = (centred / length if length > 0 else centred).astype(np.float32)
    return unit


def _best(seen: _Seen, known: Sequence[_Seen], how: Search) -> Pair | str:
    lights = set(seen.grey)
    able = [other for other in known if lights <= set(other.grey)]
    if not able:
        named = f"of type {seen.part.part_type!r} " if seen.part.part_type else ""
        return f"no good part {named}is left to be its golden"
    near = [sum(float(seen.small[k] @ other.small[k]) for k in sorted(lights)) for other in able]
    nearest = np.argsort(-np.asarray(near), kind="stable")[: max(1, how.candidates)]
    pairs = [_pair(seen, able[int(i)]) for i in nearest]
    return max(pairs, key=lambda pair: pair.quality)


def _pair(seen: _Seen, other: _Seen) -> Pair:
    facts: list[Measured] = [measure(grey, other.grey[k]) for k, grey in sorted(seen.grey.items())]
    return Pair(
        replace(seen.part, goldens={k: [other.part.pictures[k]] for k in seen.part.pictures}),
        next(iter(other.part.pictures.values())).path,
        max(0.0, min(one.match for one in facts)),
        max(one.shift_pct for one in facts),
        max(one.rotation_deg for one in facts),
    )


def _notes(
    bare: Sequence[FoundPart],
    reserved: Sequence[FoundPart],
    pairs: Sequence[Pair],
    below: Counter[str],
    how: Search,
) -> list[str]:
    good = sum(1 for part in bare if part.good)
    worst = sorted(pairs, key=lambda one: (one.quality, one.part.name))[:WORST]
    told = ", ".join(f"{one.part.name} {one.quality:.2f}" for one in worst)
    shift, turn = median(p.shift_pct for p in pairs), median(p.rotation_deg for p in pairs)
    notes = [
        f"goldens: {len(reserved)} of {good} good part(s) are set aside and become no rows",
        f"quality of {len(pairs)} pair(s): median {median(p.quality for p in pairs):.2f}; "
        f"worst {told}",
        f"parts lie off their goldens by {shift:.1f} % of the side, {turn:.1f} degrees (medians)",
    ]
    if below:
        named = ", ".join(f"{label} {count}" for label, count in sorted(below.items()))
        notes.append(f"{below.total()} part(s) below the floor of {how.floor}: {named}")
    return notes
