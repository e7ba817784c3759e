"""A pool as a production line fills it: few defects, the same scene again and again, wrong labels.

All of it is drawn from the importer's seed, and what is true of each row stands in a file beside
the pool, which no stage of the loop reads.
"""

from __future__ import annotations

import cv2
import numpy as np

from deft.core.errors import HardStop
from deft.importers.deeppcb_settings import Resolved, stream
from deft.importers.deeppcb_source import DEFECTS
from deft.importers.deeppcb_windows import Crop
from deft.tables.changenet_table import PASS

TRUTH = "pool_truth.csv"  # beside the pool's table
SHIFT_PX = 1  # of a near-copy, at most, either way
NOISE, GAIN = 4.0, 0.03  # grey levels (standard deviation), share: of a near-copy's light


def as_on_a_line(crops: list[Crop], settings: Resolved) -> list[Crop]:
    """Return the pool's crops with the shares that the settings ask for, in their order.

    Raises
    ------
    HardStop ``config_invalid`` where the groups have too few windows of a kind.
    """
    share, rows = settings.pool_defect_share, settings.pool_rows
    copied, wrong = settings.pool_near_copies or 0.0, settings.pool_wrong_labels or 0.0
    if share is None and rows is None and not copied and not wrong:
        return crops
    rng = stream(settings, "pool", len(crops))
    good, bad = _indices(crops, defective=False), _indices(crops, defective=True)
    if share is None:
        share = len(bad) / max(1, len(crops))
    if rows is None:  # the largest pool of this share
        shares = (good, 1 - share), (bad, share)
        own = min(len(there) / part for there, part in shares if part)
        rows = int(own / (1 - copied))
    originals = rows - round(copied * rows)
    wanted_bad = round(share * originals)
    wanted = {"defective": (bad, wanted_bad), "good": (good, originals - wanted_bad)}
    for kind, (there, count) in wanted.items():
        if count > len(there) or not count:
            raise HardStop(
                "config_invalid",
                f"a pool of {rows} rows with a defect share of {share:g} takes {count} {kind} "
                f"windows; the pool groups have {len(there)}",
                fix="lower deeppcb.pool_rows, raise deeppcb.pass_per_image, or name more "
                "deeppcb.pool_groups",
            )
    kept = [rng.permutation(there)[:count] for there, count in wanted.values()]
    order = np.sort(np.concatenate(kept)).tolist()
    found = [crops[i] for i in order]
    copies_bad = round(share * rows) - wanted_bad
    again = _drawn(found, rows - originals - copies_bad, copies_bad, rng)
    found += [_copy(found[i], n, rng) for n, i in enumerate(again)]
    found.sort(key=lambda crop: (crop.picture.group, crop.picture.name))  # stable
    return _mislabelled(found, wrong, rng)


def _indices(crops: list[Crop], *, defective: bool) -> np.ndarray:
    found = [i for i, crop in enumerate(crops) if (crop.window.label != PASS) == defective]
    return np.array(found, np.int64)


def _drawn(crops: list[Crop], good: int, bad: int, rng: np.random.Generator) -> list[int]:
    """Return which crops are photographed again: so many good and so many bad ones."""
    wanted = (False, good), (True, bad)
    each = [rng.choice(_indices(crops, defective=kind), count) for kind, count in wanted]
    return [int(i) for i in np.concatenate(each)]


def _copy(crop: Crop, number: int, rng: np.random.Generator) -> Crop:
    """Return a near-copy: a pixel off at most, other light and noise."""
    return Crop(
        crop.picture,
        crop.window,
        f"{crop.name}~{number + 1}",
        copy_of=crop.name,
        seed=int(rng.integers(2**31)),
    )


def _mislabelled(crops: list[Crop], share: float, rng: np.random.Generator) -> list[Crop]:
    """Return crops of which a share has the label of the other side, alike in good and bad."""
    told: dict[int, str] = {}
    for defective in (False, True):
        rows = _indices(crops, defective=defective)
        for i in rng.permutation(rows)[: round(share * len(rows))].tolist():
            told[i] = PASS if defective else str(rng.choice(DEFECTS))
    return [crop.called(told[i]) if i in told else crop for i, crop in enumerate(crops)]


def photographed_again(pixels: np.ndarray, seed: int) -> np.ndarray:
    """Return (h, w) uint8 of the same scene once more: shifted by up to a pixel, lit otherwise."""
    rng = np.random.default_rng(seed)
    move = np.eye(2, 3)
    move[:, 2] = rng.uniform(-SHIFT_PX, SHIFT_PX, 2)
    size = pixels.shape[::-1]
    moved = cv2.warpAffine(pixels, move, size, borderMode=cv2.BORDER_REPLICATE)
    seen = moved.astype(np.float64) * rng.uniform(1 - GAIN, 1 + GAIN) + rng.normal(
        0, NOISE, pixels.shape
    )
    out: np.ndarray = np.clip(np.round(seen), 0, 255).astype(np.uint8)
    return out
