"""Decoding pictures once: file -> resized RGB bytes, kept in memory up to a limit."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
from PIL import Image

from deft.tables.pictures import PictureError as PictureError
from deft.tables.pictures import open_rgb

BILINEAR = Image.Resampling.BILINEAR
BICUBIC = Image.Resampling.BICUBIC
CACHE_BYTES = 2 << 30  # about 200 000 pictures of 64 x 64, 14 000 of 224 x 224


def read_picture(
    path: str | Path,
    size: tuple[int, int],
    resample: int = BILINEAR,
    levels: int | None = None,
) -> np.ndarray:
    """Return the picture as uint8 (height, width, 3), RGB, resized as PIL does.

    ``levels`` and what is raised: see :func:`deft.tables.pictures.open_rgb`.
    """
    # resize() of an equal size is a copy, so this is the same rule for every size.
    return np.asarray(open_rgb(path, levels).resize((size[1], size[0]), resample))


class PictureCache:
    """Resized pictures by file, size and filter; safe to share between threads.

    When ``max_bytes`` is reached, further pictures are decoded each time: slower, never wrong.
    """

    def __init__(self, max_bytes: int = CACHE_BYTES) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self.decoded = 0  # how many times a file was decoded
        self._kept: dict[tuple[str, tuple[int, int], int, int | None], np.ndarray] = {}
        self._locks = [threading.Lock() for _ in range(64)]
        self._count = threading.Lock()

    def get(
        self,
        path: Path,
        size: tuple[int, int],
        resample: int = BILINEAR,
        levels: int | None = None,
    ) -> np.ndarray:
        """Return the picture as :func:`read_picture` does; do not write to it."""
        name = (str(path), size, int(resample), levels)
        found = self._kept.get(name)
        if found is not None:
            return found
        # Goldens are shared by many rows: the second thread waits instead of decoding again.
        with self._locks[hash(name) % len(self._locks)]:
            found = self._kept.get(name)
            if found is not None:
                return found
            picture = read_picture(path, size, resample, levels)
            with self._count:
                self.decoded += 1
                if self.bytes + picture.nbytes <= self.max_bytes:
                    self.bytes += picture.nbytes
                    self._kept[name] = picture
        return picture
