"""Where a test picture differs from its golden: the place of a defect, found without any model.

ChangeNet's classifier is linear over the flattened map of differences, so a defect at a place where
training had none is easily missed, however plain it is.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from deft.core.progress import Progress
from deft.tables import differing, kept
from deft.tables.differing import difference, read_grey
from deft.tables.fingerprint import computed_by
from deft.tables.kept import VALUE_BYTES, file_state, kind_of

GRID = 4  # cells a side
FORM = struct.Struct("<qd")  # a cell and its difference, as kept
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
        found = [_kept_cell(test, golden, grid, levels) for test, golden in pairs]
        return max(found, key=lambda f: f[1])[0]

    out = np.empty(len(parts), np.int64)
    progress = Progress(len(parts), "places of defects")
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as workers:
        for i, found in enumerate(workers.map(one, parts)):
            out[i] = found
            progress(1)
    progress.close()
    return out


def _kept_cell(test: Path, golden: Path, grid: int, levels: int | None) -> tuple[int, float]:
    """Return a pair's :func:`cell`, of the workspace's store where both files are as they were."""
    asked_ns, store = time.time_ns(), kept.current()
    state, other = (file_state(path) if store is not None else None for path in (test, golden))
    # The pair is as new as its newer picture.
    newer = max(other.mtime_ns, other.ctime_ns) if other else 0
    if store is None or state is None or other is None:
        return cell(read_grey(test, levels), read_grey(golden, levels), grid)
    kind = kind_of("cell", computed_by(__file__, differing.__file__), levels, grid, *other)
    (value,) = store.get([state], kind)
    if value is not None:
        place, found = FORM.unpack_from(value)
        return place, found
    place, found = cell(read_grey(test, levels), read_grey(golden, levels), grid)
    settled = asked_ns - max(0, newer - max(state.mtime_ns, state.ctime_ns))
    store.put(state, kind, FORM.pack(place, found).ljust(VALUE_BYTES, b"\0"), settled)
    return place, found
