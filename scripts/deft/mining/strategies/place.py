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

from deft.core.progress import Progress
from deft.tables.differing import difference, read_grey

GRID = 4  # cells a side
NOWHERE = -1  # test and golden do not differ

Pair = tuple[Path, Path]  # test and golden picture


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
