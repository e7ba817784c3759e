"""How a test picture differs from its golden: grey squares of one size, without any model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from deft.tables.fingerprint import decode

SIDE_PX = 96  # both pictures are brought to this square
TOLERANCE_PX = 1  # misregistration of that square that makes no difference
BLUR_PX = 3.0  # a defect is an area; an edge that is off is a line, which this thins out


def difference(test: np.ndarray, golden: np.ndarray) -> np.ndarray:
    """Return by how much each pixel lies outside what the golden shows around it, smoothed.

    ``test``, ``golden``: uint8 (h, w) of equal size. Returns float32 (h, w), 0 to 255.
    """
    size = 2 * TOLERANCE_PX + 1
    from scipy import ndimage  # half a second, wanted only here

    low = ndimage.minimum_filter(golden, size).astype(np.int16)
    high = ndimage.maximum_filter(golden, size).astype(np.int16)
    seen = test.astype(np.int16)
    outside = np.maximum(np.maximum(seen - high, low - seen), 0).astype(np.float32)
    smoothed: np.ndarray = ndimage.gaussian_filter(outside, BLUR_PX)
    return smoothed


def read_grey(path: Path, levels: int | None = None) -> np.ndarray:
    """Return a picture as uint8 (SIDE_PX, SIDE_PX) of grey; raises as :func:`decode` does."""
    picture = decode(path, levels).convert("L")
    return np.asarray(picture.resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX))
