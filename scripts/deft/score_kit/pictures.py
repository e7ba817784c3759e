"""Reading a picture file with OpenCV: what the pipeline gets from Pillow, or a refusal."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from .files import read_file
from .headers import RESAVE, Unfit, read_header

FULL = 255  # of a picture with 8 bits a channel
LEVELS_FIX = (
    "set picture_levels in preprocessing.json to the level of full scale that the model was "
    "trained with, or save the pictures as 8 bits"
)

cv2.setNumThreads(1)  # pictures are decoded side by side


class PictureError(Exception):
    """A picture file cannot be used; ``missing`` tells absent from broken."""

    def __init__(self, path: Path, reason: str, *, fix: str | None = None, missing: bool = False):
        super().__init__(f"{path}: {reason}")
        self.path, self.reason, self.fix, self.missing = path, reason, fix, missing


def read_rgb(path: Path, levels: int | None = None) -> np.ndarray:
    """Return the picture, uint8 (height, width, 3), RGB.

    ``levels``: full scale of pictures of 16 bits; a level v becomes v * 255 / levels.

    Raises
    ------
    PictureError for a file that is absent, cut off, no picture, turned (EXIF), one of several, or
    of 16 bits without ``levels``.
    """
    try:
        data = read_file(path)
    except (FileNotFoundError, NotADirectoryError):
        raise PictureError(path, "there is no such file", missing=True) from None
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        why = getattr(error, "strerror", None) or str(error)
        raise PictureError(path, f"cannot be read ({why})", fix="put a picture there") from None
    try:
        return _decoded(data, levels)
    except Unfit as error:
        raise PictureError(path, error.reason, fix=error.fix) from None


def _decoded(data: bytes, levels: int | None) -> np.ndarray:
    if not data:
        raise Unfit("the picture is empty, a zero-byte file", "copy the file again")
    header = read_header(data)
    if header.turn != 1:
        raise Unfit(
            f"it says that it must be turned to stand upright (EXIF orientation {header.turn}), "
            "which TAO does not do",
            "save the pictures upright, or remove the tag where it is wrong",
        )
    if header.pages != 1:
        raise Unfit("the file holds several pictures", "save the one that is meant by itself")
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        picture = None
    if picture is None:
        raise Unfit("the picture does not decode: it is damaged", "copy the file again")
    if picture.ndim == 2:
        picture = np.broadcast_to(picture[..., None], (*picture.shape, 3))
    else:
        picture = picture[..., 2::-1]  # from BGR, alpha left out
    if picture.dtype != np.uint8:
        picture = _scaled(picture, levels)
    return np.ascontiguousarray(picture)


def _scaled(picture: np.ndarray, levels: int | None) -> np.ndarray:
    if picture.dtype != np.uint16:
        raise Unfit(f"pictures of {picture.dtype} are not read", RESAVE)
    high = int(picture.max())
    if levels is None:
        raise Unfit(
            f"deeper than 8 bits, largest level {high}, and full scale is not known", LEVELS_FIX
        )
    if high > levels:
        raise Unfit(f"it has the level {high}, above picture_levels: {levels}", LEVELS_FIX)
    bright = (picture.astype(np.int64) * (2 * FULL) + levels) // (2 * levels)
    return bright.astype(np.uint8)
