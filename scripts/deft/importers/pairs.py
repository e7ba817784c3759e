"""Pre-generated pairs for a set that has none: real defects laid on other good pictures.

The loop mines pairs of a generator of anomalies. A data set seldom has them, so training defects
are cut out where test and golden differ and laid, with a soft edge, at the same place of other good
training pictures (as in CutPaste: Li et al., 2021). They stand in for a generator's pairs; own ones
go into ``augmentation/anomalygen`` in their place.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from deft.core import layout
from deft.core.errors import HardStop
from deft.core.files import write_bytes_atomic, write_text_atomic
from deft.importers.parts import FoundPart, file_safe
from deft.importers.pixels import PNG, Reader
from deft.tables.changenet_table import image_name
from deft.tables.differing import SIDE_PX, difference

PER_DEFECT = 8
SEEN = 0.5  # of the greatest difference: what belongs to the defect
MARGIN, SOFT = 0.04, 0.02  # of the picture's side: room around it, and the width of the edge
BOARD_CHARACTERS, LABEL_BYTES = 60, 100  # with a light this stays below the 255 of a file name
GREATEST = 0.8  # of a side: what is larger is no defect that could be laid elsewhere


@dataclass(frozen=True)
class Pair:
    """A pair under its stem: per light the picture with the defect and without it, uint8."""

    stem: str
    defect: str
    pictures: dict[str, tuple[np.ndarray, np.ndarray]]


def pairs(base: Sequence[FoundPart], reader: Reader, seed: int) -> Iterator[Pair]:
    """Return up to ``PER_DEFECT`` pairs for each defect of the training parts, sorted by label.

    Raises HardStop ``config_invalid`` where not one defect can be told from its golden.
    """
    good = [part for part in base if part.good]
    donors: dict[str, list[FoundPart]] = defaultdict(list)
    for part in base:
        if not part.good and _can_name_a_file(part.label):
            donors[part.label].append(part)
    made = 0
    for label in sorted(donors):
        words = hashlib.sha256(label.encode()).digest()[:8]
        rng = np.random.default_rng([seed, int.from_bytes(words, "little")])
        count = 0
        for at in rng.permutation(len(donors[label])).tolist() * PER_DEFECT:
            if count == PER_DEFECT:
                break
            donor = donors[label][at]
            # A part of the same kind shows the same place; any good one where there is none.
            hosts = [part for part in good if part.part_type == donor.part_type] or good
            host = hosts[int(rng.integers(len(hosts)))]
            found = _laid(donor, host, reader)
            if found is None:
                continue
            count, made = count + 1, made + 1
            board = file_safe(host.board, "@.-")[:BOARD_CHARACTERS] or "single"
            yield Pair(f"{board}+{label}_{count}", label, found)
    if not made:
        raise HardStop(
            "config_invalid",
            "no defect of the training parts differs from its golden: none can be laid on others",
            fix="put pairs of your own into augmentation/anomalygen: docs/import.md",
        )


def _laid(
    donor: FoundPart, host: FoundPart, reader: Reader
) -> dict[str, tuple[np.ndarray, np.ndarray]] | None:
    """Return light -> (with the defect, without), or None where no light shows a defect."""
    found, shown = {}, False
    for light, picture in donor.pictures.items():
        defect = reader.pixels(picture)
        golden = reader.pixels(donor.goldens[light][0])
        good = _like(reader.pixels(host.pictures[light]), defect)
        box = defect_box(defect, golden)
        shown = shown or box is not None
        found[light] = (good if box is None else _paste(defect, good, box), good)
    return found if shown else None


def defect_box(test: np.ndarray, golden: np.ndarray) -> tuple[float, float, float, float] | None:
    """Return (x1, y1, x2, y2) of where they differ most, as shares of the sides; None: nowhere."""
    unlike = difference(_square(test), _square(golden))
    top = float(unlike.max())
    if top < 1:
        return None
    marked = (unlike >= SEEN * top).astype(np.uint8)
    _, labels = cv2.connectedComponents(marked)
    mine = labels == labels[np.unravel_index(int(unlike.argmax()), unlike.shape)]
    ys, xs = np.nonzero(mine)
    x1, y1, x2, y2 = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
    box = (
        *(max(0.0, float(v) / SIDE_PX - MARGIN) for v in (x1, y1)),
        *(min(1.0, float(v) / SIDE_PX + MARGIN) for v in (x2, y2)),
    )
    x1s, y1s, x2s, y2s = box
    return (x1s, y1s, x2s, y2s) if max(x2s - x1s, y2s - y1s) <= GREATEST else None


def _square(picture: np.ndarray) -> np.ndarray:
    grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)


def _like(picture: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return a picture in the channels of another."""
    if picture.ndim == other.ndim:
        return picture
    kind = cv2.COLOR_GRAY2RGB if picture.ndim == 2 else cv2.COLOR_RGB2GRAY
    return cv2.cvtColor(picture, kind)


def _paste(
    defect: np.ndarray, good: np.ndarray, box: tuple[float, float, float, float]
) -> np.ndarray:
    height, width = good.shape[:2]
    source = cv2.resize(defect, (width, height), interpolation=cv2.INTER_AREA)
    mask = np.zeros((height, width), np.float32)
    x1, y1, x2, y2 = box
    mask[round(y1 * height) : round(y2 * height), round(x1 * width) : round(x2 * width)] = 1
    soft = np.asarray(cv2.GaussianBlur(mask, (0, 0), max(0.5, SOFT * min(height, width))))
    share = soft if good.ndim == 2 else soft[..., None]
    return np.rint(source * share + good * (1 - share)).astype(np.uint8)


def write_pairs(found: Iterator[Pair], lights: Sequence[str], out: Path) -> dict[str, int]:
    """Write pairs and ``defect_spec.jsonl`` below a workspace; return how many of each defect."""
    counts: dict[str, int] = {}
    for pair in found:
        counts[pair.defect] = counts.get(pair.defect, 0) + 1
        for light, (bad, good) in pair.pictures.items():
            name = image_name(pair.stem, light, PNG) if len(lights) > 1 else f"{pair.stem}{PNG}"
            for folder, pixels in ((layout.PREGEN_NG, bad), (layout.PREGEN_OK, good)):
                _save(out / folder / name, pixels)
    lines = [json.dumps({"count": n, "defect_type": label}) for label, n in counts.items()]
    write_text_atomic(out / layout.DEFECT_SPEC, "\n".join(lines) + "\n")
    return counts


def _save(path: Path, pixels: np.ndarray) -> None:
    done, data = cv2.imencode(PNG, pixels if pixels.ndim == 2 else pixels[..., ::-1])
    if not done:
        raise ValueError(f"cannot encode {path.name}")
    write_bytes_atomic(path, data.tobytes())


def _can_name_a_file(label: str) -> bool:
    """Return whether a pair can say its defect: the loop reads it from the name of the file."""
    return not set(label) & {"/", "\\"} and len(label.encode()) <= LABEL_BYTES
