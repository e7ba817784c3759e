"""Pillow's bilinear ``Image.resize`` in numpy, to the last bit.

Each output pixel is a weighted mean of the input pixels under a triangle, which widens when a
picture shrinks. Weights are whole numbers of 1 / 2**22. One side follows the other, and the
picture between them is rounded to bytes, so their order shows in the last bit: the width came
first until Pillow 13, which begins with the height where that shrinks more than twice as much as
the width does (in pixels).
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil

import numpy as np

BITS = 22  # of a weight


@lru_cache(maxsize=256)
def _weights(before: int, after: int) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Return for each tap (places int64 (after,), weights int32 (after,))."""
    scale = before / after
    wide = max(scale, 1.0)
    taps = ceil(wide) * 2 + 1
    places = np.zeros((taps, after), np.int64)
    weights = np.zeros((taps, after), np.int32)
    for out in range(after):
        centre = (out + 0.5) * scale
        first = max(0, int(centre - wide + 0.5))
        last = min(before, int(centre + wide + 0.5))
        found = [
            max(0.0, 1.0 - abs((x + first - centre + 0.5) * (1.0 / wide)))
            for x in range(last - first)
        ]
        total = sum(found)
        for tap, weight in enumerate(found):
            places[tap, out] = first + tap
            weights[tap, out] = int(0.5 + weight / total * (1 << BITS))
    return tuple((p, w) for p, w in zip(places, weights, strict=True) if w.any())


def resize(
    picture: np.ndarray, height: int, width: int, *, height_may_lead: bool = True
) -> np.ndarray:
    """Return uint8 (height, width, 3) of uint8 (h, w, 3); an equal size is returned as it is.

    ``height_may_lead``: as Pillow 13 does it; False as the releases before.
    """
    high, wide = picture.shape[:2]
    leads = height_may_lead and height < high and 2 * (wide - width) < high - height
    for axis in (0, 1) if leads else (1, 0):
        if picture.shape[axis] != (height, width)[axis]:
            picture = _pass(picture, (height, width)[axis], axis)
    return picture


def _pass(picture: np.ndarray, after: int, axis: int) -> np.ndarray:
    shape = list(picture.shape)
    shape[axis] = after
    total = np.full(shape, 1 << (BITS - 1), np.int32)
    along = (-1, 1, 1) if axis == 0 else (1, -1, 1)
    for places, weights in _weights(picture.shape[axis], after):
        total += picture.take(places, axis=axis) * weights.reshape(along)
    done: np.ndarray = np.clip(total >> BITS, 0, 255).astype(np.uint8)
    return done


def join_lights(lights: list[np.ndarray], grid: tuple[int, int] | None) -> np.ndarray:
    """Join pictures (h, w, 3) downwards, or as ``grid`` = (x, y) tiles row by row."""
    if len(lights) == 1:
        return lights[0]
    if grid is None:
        return np.concatenate(lights, axis=0)
    x, y = grid
    rows = [np.concatenate(lights[i * x : (i + 1) * x], axis=1) for i in range(y)]
    return np.concatenate(rows, axis=0)
