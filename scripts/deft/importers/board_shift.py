"""By how much a board picture lies off its golden board, before windows are cut of both.

A window of the golden must show the place that the board's window shows. A shift is found on both
pictures at :data:`LONGER_PX` and counts only where it makes them agree better; turns and scale are
not sought (a crop's own registration may mend a small turn).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from deft.causes.measure import match
from deft.importers.pixels import DEEP
from deft.tables.pictures import open_rgb

LONGER_PX = 1024  # of the longer side at which boards are compared; a shift is found to some 0.1 px
MOST = 0.25  # of a side; a greater one is no shift of the same board
GAIN = 0.02  # of the match that a shift must bring
UNLIKE = 0.5  # a match below this: perhaps another board's golden


@dataclass(frozen=True)
class Shift:
    """``dx``, ``dy``: px by which the board lies right of and below its golden.

    ``match``: how well both agree then, -1 to 1; 1 = equal but for brightness and contrast.
    """

    dx: int
    dy: int
    match: float


def shift_of(board: Path, golden: Path, size: tuple[int, int], levels: int | None = None) -> Shift:
    """Return the shift of two pictures of one ``size`` (width, height).

    ``levels``: full scale of pictures deeper than 8 bits, None refuses them.
    Raises ValueError for a picture that cannot be decoded.
    """
    test, good = _grey(board, size, levels), _grey(golden, size, levels)
    before = match(test, good, np.ones(test.shape, bool))
    height, width = test.shape
    window = cv2.createHanningWindow((width, height), cv2.CV_32F)
    (x, y), _ = cv2.phaseCorrelate(good - good.mean(), test - test.mean(), window)
    still = Shift(0, 0, before)
    dx, dy = round(x), round(y)
    if not (dx or dy) and max(width, height) == max(size):
        return still
    if abs(dx) > MOST * width or abs(dy) > MOST * height:
        return still
    seen = test[max(0, dy) : height + min(0, dy), max(0, dx) : width + min(0, dx)]
    there = good[max(0, -dy) : height + min(0, -dy), max(0, -dx) : width + min(0, -dx)]
    after = match(seen, there, np.ones(seen.shape, bool))
    if after < before + GAIN:
        return still
    return Shift(round(x * size[0] / width), round(y * size[1] / height), after)


@lru_cache(maxsize=8)  # the golden of many boards is read once, and boards come sorted
def _grey(path: Path, size: tuple[int, int], levels: int | None) -> np.ndarray:
    """Return a picture as float32 grey levels, its longer side at most :data:`LONGER_PX`."""
    scale = min(1.0, LONGER_PX / max(size))
    wanted = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    try:
        with Image.open(path) as picture:
            picture.draft("L", wanted)  # a JPEG decodes smaller, many times faster
            deep = DEEP.match(picture.mode)
            grey = (open_rgb(path, levels) if deep else picture).convert("L")
            if grey.size != wanted:
                grey = grey.resize(wanted, Image.Resampling.BOX)
            return np.asarray(grey, np.float32)
    except Exception as error:  # a file that ends early fails in Pillow's decoders in many ways
        told = " ".join(str(error).split())[:120] or type(error).__name__
        raise ValueError(f"{path.name} cannot be decoded ({told})") from None
