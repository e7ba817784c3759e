"""Reading a picture file: the one place that turns bytes on a disk into RGB.

Pictures of 8 bits a channel are what Pillow's ``convert("RGB")`` gives, to the last bit as in TAO's
loader. Deeper ones (16 or 32 bits, numbers) that call would clip to white, and 16-bit colour it
would cut to the high byte, both without a word: here they are read by ``levels``, the number that
stands for full scale, or refused. So are pictures that say they must be turned to stand upright,
which TAO does not do, and files that hold several pictures.

The file is copied into ``best_model/`` too, so nothing of this project is imported.
"""

from __future__ import annotations

import re
import stat
import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

FULL = 255  # of a picture with 8 bits a channel
ORIENTATION = 0x0112  # of EXIF and TIFF
TURNED = range(2, 9)  # 1 is upright; 0 and numbers above 8 mean nothing, as to every viewer
BITS, SIGNS, MEANING = 258, 339, 262  # TIFF: bits a sample, format of a sample, which end is white
UNSIGNED, FLOAT = (1, 4), 3
DEEP_MODES = ("I", "F")
# Pillow's names of rows with 16 or 32 bits a channel; BGR;16 is 5 + 6 + 5 bits.
DEEP_ROWS = re.compile(r";(16|32|64)[BLNS]|^(L|LA|CMYK);(16|32)|;12$")
HEAD_BYTES = 1 << 16  # in which JPEG 2000 and AVIF say their depth
# Several pictures in one file that are none: a preview beside the picture.
WITH_PREVIEW = ("MPO",)
# Read as Pillow reads them, but their own numbers are changed on the way.
RESCALED = ("JPEG2000", "AVIF")


class PictureError(Exception):
    """A picture file cannot be used.

    ``missing`` tells absent from broken. ``mode`` and ``largest`` are set for a picture that
    only ``levels`` would make readable: what Pillow calls it, and its largest level.
    """

    def __init__(
        self,
        path: Path,
        reason: str,
        *,
        missing: bool = False,
        fix: str | None = None,
        mode: str | None = None,
        largest: float | None = None,
    ) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason, self.missing, self.fix = path, reason, missing, fix
        self.mode, self.largest = mode, largest


def open_rgb(
    path: str | Path, levels: int | None = None, *, draft_px: int | None = None
) -> Image.Image:
    """Return the decoded picture, RGB of 8 bits.

    Parameters
    ----------
    levels: full scale of pictures deeper than 8 bits (1023, 4095, 65535, …): a level v becomes
        v * 255 / levels, halves rounded up. Pictures of 8 bits are not touched by it.
    draft_px: a JPEG may be decoded smaller, to no less than so many pixels a side; for thumbnails.

    Raises
    ------
    PictureError for a file that is absent, empty, cut off or no picture; that is deeper than 8
    bits when ``levels`` is None, or has a level outside of 0..levels; that must be turned to stand
    upright; that holds several pictures.
    """
    path = Path(path)
    # Other libraries switch this on for the whole process; half a picture must never pass.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        _check_file(path)
        with Image.open(path) as picture:
            if draft_px:
                picture.draft("RGB", (draft_px, draft_px))
            deep = _deep_mode(path, picture)  # asked first: decoding forgets how rows were stored
            rows = picture.tile
            # Pillow turns a TIFF on loading, uncompressed ones into a jumble; it then says nothing.
            turned = set(_numbers(getattr(picture, "tag_v2", None), ORIENTATION)) & set(TURNED)
            if turned:
                raise _turned(path, turned.pop())
            picture.load()
            _refuse_several(path, picture)
            _refuse_turned(path, picture)
            if not deep:
                return picture.convert("RGB")
            return _scaled(path, _values(path, picture, rows), levels, deep)
    except (PictureError, MemoryError):
        raise
    except (FileNotFoundError, NotADirectoryError):
        raise PictureError(path, "there is no such file", missing=True) from None
    except PermissionError as error:
        fix = "let this user read the picture"
        raise PictureError(path, f"cannot be read ({error.strerror})", fix=fix) from None
    except UnidentifiedImageError:
        raise PictureError(path, "not a picture in a format that can be read") from None
    except Exception as error:  # a broken file fails in Pillow's readers in many ways
        what = " ".join(str(error).split()) or type(error).__name__
        raise PictureError(path, f"the picture does not decode ({what})") from None


def _check_file(path: Path) -> None:
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise PictureError(path, "a folder stands where a picture is due")
    if not stat.S_ISREG(found.st_mode):  # opening a pipe would wait for ever
        raise PictureError(path, "no regular file stands where a picture is due")
    if found.st_size == 0:
        raise PictureError(path, "the picture is empty, a zero-byte file")


def _deep_mode(path: Path, picture: ImageFile.ImageFile) -> str | None:
    """Return what a picture deeper than 8 bits is called, None for the others.

    Raises PictureError for samples that neither Pillow nor levels can give a meaning.
    """
    tags = getattr(picture, "tag_v2", None)
    bits = max(_numbers(tags, BITS), default=0)
    signs = set(_numbers(tags, SIGNS))
    if signs - {*UNSIGNED, FLOAT} and bits <= 8:
        raise PictureError(path, "its samples are signed (TIFF SampleFormat 2)", fix=RESAVE)
    rows = [str(text) for tile in picture.tile for text in _texts(tile)]
    deep = (
        picture.mode in DEEP_MODES
        or picture.mode.startswith("I;")
        or bits > 8
        or any(DEEP_ROWS.search(text) or text == "SGI16" for text in rows)
        or (picture.format == "PPM" and _maxval(picture.tile) > FULL)
    )
    if picture.format in RESCALED:
        bits = _stated_bits(path)
        if bits > 8:
            raise PictureError(
                path, f"{picture.format} with {bits} bits a channel is not read", fix=RESAVE
            )
    if not deep:
        return None
    if 0 in _numbers(tags, MEANING):
        raise PictureError(path, "in it 0 is white (TIFF WhiteIsZero)", fix=RESAVE)
    if picture.mode in DEEP_MODES or picture.mode.startswith("I;"):
        return picture.mode
    return f"{picture.mode} of {bits if bits > 8 else 16} bits"


RESAVE = "save it as a PNG or TIFF of 8 or 16 bits, 0 being black"


def _numbers(tags: Any, name: int) -> list[int]:
    """Return a TIFF tag's numbers; none where there is no such tag."""
    value = tags.get(name) if tags is not None else None
    values = value if isinstance(value, tuple | list) else [value]
    return [v for v in values if isinstance(v, int)]


def _texts(tile: Any) -> list[str]:
    args = tile[3] if isinstance(tile[3], tuple | list) else [tile[3]]
    return [tile[0], *(a for a in args if isinstance(a, str))]


def _maxval(tiles: Any) -> int:
    """Return a PGM's or PPM's own full scale; 65535 has rows of its own."""
    args = tiles[0][3] if tiles else ()
    if isinstance(args, str) and DEEP_ROWS.search(args):
        return 65535
    last = args[-1] if isinstance(args, tuple) and args else FULL
    return last if isinstance(last, int) else FULL


def _stated_bits(path: Path) -> int:
    """Return the bits a channel of a JPEG 2000 or AVIF file: Pillow makes them 8, or fills 16."""
    with path.open("rb") as handle:
        head = handle.read(HEAD_BYTES)
    place = head.find(b"\xff\x4f\xff\x51")  # JPEG 2000: start of codestream, then its sizes
    if place >= 0:
        count = struct.unpack_from(">H", head, place + 40)[0]
        return max(1 + (head[place + 42 + 3 * i] & 0x7F) for i in range(count))
    place = head.find(b"av1C")
    if place >= 0 and head[place + 6] & 0x40:
        return 12 if head[place + 6] & 0x20 else 10
    return 8


def _refuse_several(path: Path, picture: Image.Image) -> None:
    count = getattr(picture, "n_frames", 1)
    if count > 1 and picture.format not in WITH_PREVIEW:
        raise PictureError(
            path,
            f"the file holds {count} pictures, and which one is meant is not known",
            fix="save the one that is meant as a file of its own",
        )


def _refuse_turned(path: Path, picture: Image.Image) -> None:
    try:
        value = picture.getexif().get(ORIENTATION, 1)
        turned = int(value[0] if isinstance(value, tuple) else value) in TURNED
    except Exception:  # EXIF that cannot be read says nothing
        return
    if turned:
        raise _turned(path, value)


def _turned(path: Path, value: Any) -> PictureError:
    return PictureError(
        path,
        f"it says that it must be turned to stand upright (EXIF orientation {value}), which "
        "TAO does not do",
        fix="save the pictures upright, without an orientation (mogrify -auto-orient), or remove "
        "the tag where it is wrong (exiftool -Orientation=)",
    )


def _values(path: Path, picture: Image.Image, rows: Any) -> np.ndarray:
    """Return a deep picture's own levels, (h, w) or (h, w, 3), alpha left out as everywhere."""
    if picture.mode in DEEP_MODES or picture.mode.startswith("I;"):
        values = np.asarray(picture)
        if picture.format == "PPM":  # Pillow has stretched them to 16 bits
            values = np.rint(values * (_maxval(rows) / 65535)).astype(np.int64)
        return values
    try:
        import cv2  # Pillow has no mode for deep colour; wanted only here
    except ImportError:
        raise PictureError(
            path,
            "colour of more than 8 bits a channel is read with OpenCV, which is not here",
            fix="pip install opencv-python-headless, or save the pictures as 8 bits",
        ) from None
    flags = cv2.IMREAD_UNCHANGED  # every bit, and not turned
    decoded = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), flags)
    if decoded is None or decoded.dtype.itemsize < 2:
        raise PictureError(path, f"its {picture.mode} of more than 8 bits is not read", fix=RESAVE)
    return decoded if decoded.ndim == 2 else decoded[..., 2::-1]  # BGR and alpha


def _scaled(path: Path, values: np.ndarray, levels: int | None, mode: str) -> Image.Image:
    """Return levels as RGB of 8 bits."""
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise PictureError(path, f"mode {mode} with numbers that are not finite", fix=RESAVE)
    if levels is None:
        raise PictureError(
            path,
            f"mode {mode}, deeper than 8 bits, largest level {high:g}; what full scale is, the "
            "file does not say",
            fix="set picture_levels to the level of full scale (1023, 4095, 16383, 65535, …), or "
            "save the pictures as 8 bits",
            mode=mode,
            largest=float(high),
        )
    if low < 0 or high > levels:
        wrong = low if low < 0 else high
        raise PictureError(
            path,
            f"mode {mode} has the level {wrong:g}, outside of 0 to picture_levels: {levels}",
            fix="set picture_levels to the level that the camera writes for full scale",
        )
    if np.issubdtype(values.dtype, np.integer):
        bright = (values.astype(np.int64) * (2 * FULL) + levels) // (2 * levels)
    else:
        bright = np.floor(values.astype(np.float64) * FULL / levels + 0.5)
    return Image.fromarray(bright.astype(np.uint8)).convert("RGB")
