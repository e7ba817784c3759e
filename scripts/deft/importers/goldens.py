"""Goldens for parts that have none: the good part of the same type that looks most like each.

Some good parts are set aside as goldens and become no rows, so that no picture is both somebody's
golden and a row's own test. Which ones depends on the seed and the names alone. Each other part is
compared with those whose small grey copies correlate best at any shift, laid on them by shift and
rotation (:mod:`deft.causes.measure`), and gets the one that matches best. How well it does is the
pair's quality, 0 (nothing alike) to 1 (equal but for brightness and contrast).
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
from PIL import Image

from deft.causes.measure import FLAT, MOST_SHIFT, UNLIKE, Measured, measure
from deft.core.errors import HardStop
from deft.core.progress import Progress
from deft.importers.parts import FoundPart, LeftOver
from deft.importers.pixels import Reader
from deft.tables.differing import SIDE_PX

CELLS = 48  # a side of the small copy by which candidates are found
# Quality that a patterned part loses beside a blank golden: most of its pixels may agree, and yet
# the pair shows two things. A defect on a blank place keeps enough.
ONE_FLAT = 0.3
BATCH = 256  # parts between two reports
Told = TypeVar("Told")
WORST = 5  # pairs that are told
TO_LEARN = (None, "base", "pool")  # roles that may lose good parts to the goldens


@dataclass(frozen=True)
class Search:
    """How goldens are looked for.

    Attributes
    ----------
    share, most: of the good boards of a type, the share and the largest number that become
        goldens; at least one does. candidates: goldens that are laid on a part, 1 or more.
    floor: quality below which a part becomes no row: it shows another thing than any golden, or
        the same in another pose (docs/import_datasets.md: what 0.5 stands on). seed: chooses the
        goldens. levels: full scale of pictures deeper than 8 bits.
    """

    share: float = 0.1
    most: int = 64
    candidates: int = 3
    floor: float = 0.5
    seed: int = 0
    levels: int | None = None


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
    """A part's pictures by light: grey (SIDE_PX, SIDE_PX) uint8, spectra, pixel digest."""

    part: FoundPart
    grey: dict[str, np.ndarray]
    small: dict[str, np.ndarray]
    digest: str


def find_goldens(parts: Sequence[FoundPart], how: Search | None = None) -> Goldens:
    """Return the parts with a golden for each that had none; parts that have goldens stay as is.

    Pictures are read by several threads; one that cannot be used leaves its part over.

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
    for part, seen in zip(reserved, _each(reserved, progress, how.levels, _as_is), strict=True):
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
    for part, pair in zip(rows, _each(rows, progress, how.levels, paired), strict=True):
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
            fix="name goldens of your own, or lower import_folder.min_golden_match",
        )
    pairs = list(found.values())
    out = [
        found[id(part)].part if id(part) in found else part
        for part in parts
        if part.goldens or id(part) in found
    ]
    return Goldens(out, pairs, reserved, left_over, _notes(bare, reserved, pairs, below, how))


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
    progress: Progress,
    levels: int | None,
    then: Callable[[_Seen | str], Told],
) -> Iterator[Told]:
    """Yield ``then`` of each part's pictures, in order; threads decode and compare."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(parts), BATCH):
            batch = parts[start : start + BATCH]
            yield from pool.map(lambda part: then(_look(part, levels)), batch)
            progress(len(batch))


def _look(part: FoundPart, levels: int | None) -> _Seen | str:
    """Return what a part's pictures show, or why they cannot be read."""
    grey, small = {}, {}
    digest = hashlib.sha256()
    for light, picture in sorted(part.pictures.items()):
        try:
            pixels = Reader(levels).pixels(picture)  # one each: it keeps its last file
        except (ValueError, OSError) as problem:
            return f"{picture.path.name}: {problem}"
        digest.update(f"{light} {pixels.shape} ".encode() + pixels.tobytes())
        square = Image.fromarray(pixels).convert("L")
        grey[light] = np.asarray(square.resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX))
        small[light] = _spectrum(grey[light])
    return _Seen(part, grey, small, digest.hexdigest())


def _spectrum(grey: np.ndarray) -> np.ndarray:
    """Return the spectrum of a small copy of zero mean and unit length (zeros for a flat one)."""
    step = SIDE_PX // CELLS
    cells = grey.reshape(CELLS, step, CELLS, step).mean(axis=(1, 3), dtype=np.float32)
    centred = cells - cells.mean()
    length = float(np.linalg.norm(centred))
    found: np.ndarray = np.fft.rfft2(centred / length if length > 0 else centred)
    return found


def _alike(seen: _Seen, known: Sequence[_Seen], light: str) -> np.ndarray:
    """Return (n,): how well a small copy correlates with n others, each at its best shift.

    Straight comparison would lose a board with fine tracks that lies off by one of them. Where one
    of both is flat it is the share of pixels that agree, as in :func:`deft.causes.measure.match`,
    less ``ONE_FLAT`` where the other is not.
    """
    over_shifts = np.fft.irfft2(
        seen.small[light] * np.stack([one.small[light] for one in known]).conj(), s=(CELLS, CELLS)
    )
    reach = MOST_SHIFT * CELLS // SIDE_PX
    near = np.r_[0 : reach + 1, CELLS - reach : CELLS]
    best: np.ndarray = over_shifts[:, near][:, :, near].max(axis=(1, 2))
    grey = np.stack([one.grey[light] for one in known]).astype(np.int16)
    agreeing = (np.abs(grey - seen.grey[light]) < UNLIKE).mean(axis=(1, 2))
    flat, own = grey.std(axis=(1, 2)) < FLAT, _flat(seen.grey[light])
    return np.where(flat & own, agreeing, np.where(flat | own, agreeing - ONE_FLAT, best))


def _flat(grey: np.ndarray) -> bool:
    return float(grey.std()) < FLAT


def _best(seen: _Seen, known: Sequence[_Seen], how: Search) -> Pair | str:
    lights = sorted(seen.grey)
    able = [other for other in known if set(lights) <= set(other.grey)]
    if not able:
        named = f"of type {seen.part.part_type!r} " if seen.part.part_type else ""
        return f"no good part {named}is left to be its golden"
    near = sum(_alike(seen, able, light) for light in lights)
    nearest = np.argsort(-np.asarray(near), kind="stable")[: max(1, how.candidates)]
    return max((_pair(seen, able[int(i)]) for i in nearest), key=lambda pair: pair.quality)


def _pair(seen: _Seen, other: _Seen) -> Pair:
    facts: list[Measured] = []
    qualities = []
    for light, grey in sorted(seen.grey.items()):
        facts.append(measure(grey, other.grey[light]))
        mixed = _flat(grey) != _flat(other.grey[light])
        qualities.append(facts[-1].match - (ONE_FLAT if mixed else 0))
    return Pair(
        replace(seen.part, goldens={k: [other.part.pictures[k]] for k in seen.part.pictures}),
        next(iter(other.part.pictures.values())).path,
        max(0.0, min(qualities)),
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
