"""Pictures of a data set as they are written: whole files as they are, others as PNG."""

from __future__ import annotations

import hashlib
import io
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from deft.importers.parts import Picture
from deft.importers.picture_tree import size_of
from deft.tables.pictures import PictureError, open_rgb

KEPT = {".jpg": ".jpg", ".jpeg": ".jpg", ".png": ".png", ".bmp": ".bmp"}
GREY, COLOUR = ("1", "L"), ("RGB", "P")
DEEP = re.compile(r"[IF](;|$)")  # Pillow's modes of grey that is deeper than 8 bits
PNG = ".png"


@dataclass
class Reader:
    """Reads pictures and windows; the last file is kept, since windows come board by board.

    ``levels``: full scale of pictures deeper than 8 bits, as :func:`deft.tables.pictures.open_rgb`
    has it; None refuses them.
    """

    levels: int | None = None
    _path: Path | None = None
    _pixels: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.uint8))

    def pixels(self, picture: Picture) -> np.ndarray:
        """Return uint8 pixels, (height, width) or (height, width, 3).

        Raises ValueError with the reason for what is no picture of one page that can be brought to
        8 bits.
        """
        if picture.path != self._path:
            self._pixels, self._path = _decoded(picture.path, self.levels), picture.path
        if picture.box is None:
            return self._pixels
        x, y, width, height = picture.box
        return self._pixels[y : y + height, x : x + width]

    def digest(self, picture: Picture) -> str:
        """Return the SHA-256 of the pixels and their shape."""
        found = self.pixels(picture)
        head = repr(found.shape).encode()
        return hashlib.sha256(head + np.ascontiguousarray(found).tobytes()).hexdigest()


def _decoded(path: Path, levels: int | None) -> np.ndarray:
    size_of(path)  # empty, unreadable or lying on its side: said in words
    with Image.open(path) as picture:
        frames, mode = getattr(picture, "n_frames", 1), picture.mode
        if frames > 1:
            raise ValueError(f"holds {frames} pictures")
        if mode in ("RGBA", "LA"):
            if np.asarray(picture.getchannel("A")).min() < 255:
                raise ValueError("is partly transparent")
        elif not DEEP.match(mode) and mode not in GREY + COLOUR:
            raise ValueError(f"is no grey or colour picture (mode {mode})")
    try:
        grey = mode in (*GREY, "LA") or DEEP.match(mode)
        return np.asarray(open_rgb(path, levels).convert("L" if grey else "RGB"))
    except PictureError as error:
        raise ValueError(error.reason + (f"; {error.fix}" if error.fix else "")) from None


def colour(pixels: np.ndarray) -> np.ndarray:
    """Return uint8 (height, width, 3) of pixels that may be grey."""
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def common_ending(pictures: list[Picture]) -> str:
    """Return the ending that all files keep, or ``.png`` where they differ or windows are cut."""
    endings = {KEPT.get(picture.path.suffix.lower()) for picture in pictures}
    kept = endings.pop() if len(endings) == 1 else None
    return kept if kept and all(picture.box is None for picture in pictures) else PNG


def write(reader: Reader, picture: Picture, ext: str, out: Path) -> None:
    """Write a picture: the file's own bytes where its kind is kept, else the pixels as PNG."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if picture.box is None and KEPT.get(picture.path.suffix.lower()) == ext:
        out.write_bytes(picture.path.read_bytes())
        return
    data = io.BytesIO()
    Image.fromarray(reader.pixels(picture)).save(data, "PNG")
    out.write_bytes(data.getvalue())


def encoded(picture: np.ndarray, ext: str) -> bytes:
    """Return uint8 (height, width, 3), RGB, as a file of that ending; equal channels as grey.

    A JPEG is of the best quality. Raises ValueError for an ending that nothing writes.
    """
    how = [cv2.IMWRITE_JPEG_QUALITY, 100] if ext.lower() in (".jpg", ".jpeg") else []
    grey = (picture == picture[..., :1]).all()
    whole = picture[..., 0] if grey else np.ascontiguousarray(picture[..., ::-1])
    try:
        done, data = cv2.imencode(ext.lower(), whole, how)
    except cv2.error:
        done = False
    if not done:
        raise ValueError(f"pictures ending in {ext!r} cannot be written")
    return data.tobytes()


def again(first: Path, out: Path) -> None:
    """Give a written picture a second name: a hard link where the disk can, else a copy."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.unlink(missing_ok=True)
    try:
        os.link(first, out)
    except OSError:
        out.write_bytes(first.read_bytes())
