"""Decoding pictures once: file -> resized RGB bytes, kept in memory up to a limit."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

BILINEAR = Image.Resampling.BILINEAR
BICUBIC = Image.Resampling.BICUBIC
CACHE_BYTES = 2 << 30  # about 200 000 pictures of 64 x 64, 14 000 of 224 x 224


class PictureError(Exception):
    """A picture file cannot be used; ``missing`` tells absent from broken."""

    def __init__(self, path: Path, reason: str, *, missing: bool = False) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason, self.missing = path, reason, missing


def open_rgb(path: str | Path) -> Image.Image:
    """Return the decoded picture, RGB.

    Raises :class:`PictureError` for a file that is absent, empty, cut off or no picture.
    """
    path = Path(path)
    # Other libraries switch this on for the whole process; half a picture must never pass.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        if path.stat().st_size == 0:
            raise PictureError(path, "the file is empty")
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except FileNotFoundError:
        raise PictureError(path, "there is no such file", missing=True) from None
    except UnidentifiedImageError:
        raise PictureError(path, "not a picture in a format that can be read") from None
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise PictureError(path, f"cannot be decoded ({error})") from None


def read_picture(path: str | Path, size: tuple[int, int], resample: int = BILINEAR) -> np.ndarray:
    """Return the picture as uint8 (height, width, 3), RGB, resized as PIL does.

    Raises :class:`PictureError` as :func:`open_rgb` does.
    """
    # resize() of an equal size is a copy, so this is the same rule for every size.
    return np.asarray(open_rgb(path).resize((size[1], size[0]), resample))


class PictureCache:
    """Resized pictures by file, size and filter; safe to share between threads.

    When ``max_bytes`` is reached, further pictures are decoded each time: slower, never wrong.
    """

    def __init__(self, max_bytes: int = CACHE_BYTES) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self.decoded = 0  # how many times a file was decoded
        self._kept: dict[tuple, np.ndarray] = {}
        self._locks = [threading.Lock() for _ in range(64)]
        self._count = threading.Lock()

    def get(self, path: Path, size: tuple[int, int], resample: int = BILINEAR) -> np.ndarray:
        """Return the picture as :func:`read_picture` does; do not write to it."""
        name = (str(path), size, int(resample))
        found = self._kept.get(name)
        if found is not None:
            return found
        # Goldens are shared by many rows: the second thread waits instead of decoding again.
        with self._locks[hash(name) % len(self._locks)]:
            found = self._kept.get(name)
            if found is not None:
                return found
            picture = read_picture(path, size, resample)
            with self._count:
                self.decoded += 1
                if self.bytes + picture.nbytes <= self.max_bytes:
                    self.bytes += picture.nbytes
                    self._kept[name] = picture
        return picture
