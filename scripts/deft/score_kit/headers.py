"""What a picture file says of itself before it is decoded: kind, depth, turn, number of pages.

OpenCV decodes what Pillow refuses or turns into other numbers (several pages, four inks, half a
file, EXIF orientations), so the bytes are asked first. Only kinds that both libraries decode to
equal bytes are let through.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

ORIENTATION, BITS, KIND, SAMPLES, SIGNS = 0x0112, 258, 262, 277, 339  # tags of TIFF and EXIF
SIZES = {1: "B", 3: "H", 4: "I"}  # of a TIFF value: byte, short, long
GREY_RGB_PALETTE_YCC = (1, 2, 3, 6)
COMPRESSION, JPEG_IN_TIFF = 259, 7
NO_FRAME = (0xC4, 0xC8, 0xCC)  # markers among JPEG's frames that are none
RESAVE = "save it as a PNG, JPEG, BMP or TIFF, grey or RGB of 8 bits"


class Unfit(Exception):
    """The picture cannot be used; ``fix`` says what to do."""

    def __init__(self, reason: str, fix: str = RESAVE) -> None:
        super().__init__(reason)
        self.reason, self.fix = reason, fix


@dataclass
class Header:
    """``turn``: EXIF orientation, 1 is upright; ``pages``: pictures in the file."""

    kind: str
    turn: int = 1
    pages: int = 1


def read_header(data: bytes) -> Header:
    """Return a picture's header; raises :class:`Unfit` for kinds that are not read, cut files."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return _png(data)
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        if data.startswith(b"BM"):
            return _bmp(data)
        if data[:4] in (b"II*\0", b"MM\0*"):
            return _tiff(data)
    except (struct.error, IndexError):
        raise Unfit("the picture is cut off or damaged", "copy the file again") from None
    raise Unfit("not a PNG, JPEG, BMP or TIFF picture")


def _png(data: bytes) -> Header:
    found, place = Header("PNG"), 8
    while True:
        length, name = struct.unpack_from(">I4s", data, place)
        inside = data[place + 8 : place + 8 + length]
        if name == b"eXIf":
            found.turn = _turn(inside)
        elif name == b"acTL":
            found.pages = struct.unpack_from(">I", inside)[0]
        elif name == b"IEND":
            return found
        place += length + 12


def _jpeg(data: bytes) -> Header:
    found, place = Header("JPEG"), 2
    while True:
        mark, code, length = struct.unpack_from(">BBH", data, place)
        if mark != 0xFF:
            raise Unfit("the JPEG's segments cannot be told apart", "copy the file again")
        if code == 0xFF:  # filling
            place += 1
            continue
        inside = data[place + 4 : place + 2 + length]
        if code == 0xE1 and inside.startswith(b"Exif\0\0"):
            found.turn = _turn(inside[6:])
        elif 0xC0 <= code <= 0xCF and code not in NO_FRAME:
            if inside[0] != 8:
                raise Unfit(f"a JPEG of {inside[0]} bits a channel is not read")
            if inside[5] not in (1, 3):
                raise Unfit(f"a JPEG of {inside[5]} inks (CMYK) is not read")
        elif code == 0xDA:
            if data.find(b"\xff\xd9", place) < 0:
                raise Unfit("the JPEG is cut off: it has no end", "copy the file again")
            return found
        place += 2 + length


def _bmp(data: bytes) -> Header:
    bits, packed = struct.unpack_from("<HI", data, 28)
    if bits not in (1, 4, 8, 24, 32) or packed not in (0, 3):
        raise Unfit(f"a BMP of {bits} bits and compression {packed} is not read")
    return Header("BMP")


def _tiff(data: bytes) -> Header:
    tags, following = _tags(data)
    samples = tags.get(SAMPLES, [1])[0]
    meaning, packed = tags.get(KIND, [1])[0], tags.get(COMPRESSION, [1])[0]
    if samples not in (1, 3) or meaning not in GREY_RGB_PALETTE_YCC:
        raise Unfit(f"a TIFF of {samples} samples, photometric {meaning}, is not read")
    if meaning == GREY_RGB_PALETTE_YCC[-1] and packed != JPEG_IN_TIFF:
        raise Unfit("a TIFF in YCbCr is read only where it is compressed as JPEG")
    if set(tags.get(SIGNS, [1])) - {1, 4}:
        raise Unfit("a TIFF of signed numbers or floats is not read")
    return Header("TIFF", _known(tags.get(ORIENTATION, [1])), 2 if following else 1)


def _turn(exif: bytes) -> int:
    try:
        return _known(_tags(exif)[0].get(ORIENTATION, [1]))
    except (struct.error, IndexError):  # EXIF that cannot be read says nothing
        return 1


def _known(values: list[int]) -> int:
    return values[0] if values and values[0] in range(2, 9) else 1


def _tags(data: bytes) -> tuple[dict[int, list[int]], int]:
    """Return the whole numbers of the first directory by tag, and the place of the second."""
    end = "<" if data[:2] == b"II" else ">"
    place = struct.unpack_from(f"{end}I", data, 4)[0]
    count = struct.unpack_from(f"{end}H", data, place)[0]
    tags: dict[int, list[int]] = {}
    for entry in range(place + 2, place + 2 + 12 * count, 12):
        tag, kind, many = struct.unpack_from(f"{end}HHI", data, entry)
        form = SIZES.get(kind)
        if form is None or many > len(data):
            continue
        size = struct.calcsize(form) * many
        at = entry + 8 if size <= 4 else struct.unpack_from(f"{end}I", data, entry + 8)[0]
        if size <= 4 or tag in (BITS, SIGNS):
            tags[tag] = list(struct.unpack_from(f"{end}{many}{form}", data, at))
    return tags, struct.unpack_from(f"{end}I", data, place + 2 + 12 * count)[0]
