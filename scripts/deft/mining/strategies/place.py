"""Where a test picture differs from its golden: the place of a defect, found without any model.

ChangeNet's classifier is linear over the flattened map of differences, so a defect at a place where
training had none is easily missed, however plain it is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from deft.core.progress import Progress
from deft.tables.fingerprint import decode

SIDE_PX = 96  # both pictures are brought to this square
TOLERANCE_PX = 1  # misregistration of that square that makes no difference
BLUR_PX = 3.0  # a defect is an area; an edge that is off is a line, which this thins out
GRID = 4  # cells a side
NOWHERE = -1  # test and golden do not differ

Pair = tuple[Path, Path]  # test and golden picture


def difference(test: np.ndarray, golden: np.ndarray) -> np.ndarray:
    """Return by how much each pixel lies outside what the golden shows around it, smoothed.

    ``test``, ``golden``: uint8 (h, w) of equal size. Returns float32 (h, w), 0 to 255.
    """
    size = 2 * TOLERANCE_PX + 1
    from scipy import ndimage  # wanted only by the strategies that look for a place

    low = ndimage.minimum_filter(golden, size).astype(np.int16)
    high = ndimage.maximum_filter(golden, size).astype(np.int16)
    seen = test.astype(np.int16)
    outside = np.maximum(np.maximum(seen - high, low - seen), 0).astype(np.float32)
    smoothed: np.ndarray = ndimage.gaussian_filter(outside, BLUR_PX)
    return smoothed


def cell(test: np.ndarray, golden: np.ndarray, grid: int = GRID) -> tuple[int, float]:
    """Return the cell of the greatest difference, ``row * grid + column``, and that difference.

    ``NOWHERE`` where there is none. Arguments as in :func:`difference`.
    """
    found = difference(test, golden)
    y, x = np.unravel_index(int(found.argmax()), found.shape)
    height, width = found.shape
    if found[y, x] <= 0:
        return NOWHERE, 0.0
    return int(y) * grid // height * grid + int(x) * grid // width, float(found[y, x])


def read_grey(path: Path, levels: int | None = None) -> np.ndarray:
    """Return a picture as uint8 (SIDE_PX, SIDE_PX) of grey; raises as :func:`decode` does."""
    picture = decode(path, levels).convert("L")
    return np.asarray(picture.resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX))


def cells_of(
    parts: Sequence[Sequence[Pair]], grid: int = GRID, levels: int | None = None
) -> np.ndarray:
    """Return each part's cell (n,) int64: of the light in which its pictures differ most.

    ``parts``: a part's pairs, one a light. Ties go to the earlier light. ``levels``: full scale
    of pictures deeper than 8 bits.

    Raises
    ------
    HardStop ``missing_input`` or ``image_invalid`` naming the picture.
    """

    def one(pairs: Sequence[Pair]) -> int:
        found = [
            cell(read_grey(test, levels), read_grey(golden, levels), grid) for test, golden in pairs
        ]
        return max(found, key=lambda f: f[1])[0]

    out = np.empty(len(parts), np.int64)
    progress = Progress(len(parts), "places of defects")
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as workers:
        for i, found in enumerate(workers.map(one, parts)):
            out[i] = found
            progress(1)
    progress.close()
    return out
