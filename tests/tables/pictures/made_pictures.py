"""Picture files as cameras and tools write them, most of them not by Pillow's own writers."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def ramp(high: int, size: int = 24, seed: int = 0) -> np.ndarray:
    """Return levels 0..high, int64 (size, size), both ends among them."""
    levels = np.random.default_rng(seed).integers(0, high + 1, (size, size))
    levels[0, 0], levels[0, 1] = 0, high
    return levels


def png(path: Path, samples: np.ndarray, colour_type: int, depth: int = 16) -> Path:
    """Write a PNG of big-endian samples (h, w * channels)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    height, width = samples.shape[0], samples.shape[1] // channels
    head = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(f">u{depth // 8}").tobytes() for row in samples)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def tiff(
    path: Path,
    data: bytes,
    size: tuple[int, int],
    bits: list[int],
    *,
    photometric: int = 1,
    sample_format: int = 1,
    orientation: int | None = None,
    big_endian: bool = False,
) -> Path:
    """Write an uncompressed TIFF of one strip, ``size`` = (width, height)."""
    order = ">" if big_endian else "<"
    tags: list[tuple[int, int, list[int]]] = [
        (256, 3, [size[0]]), (257, 3, [size[1]]), (258, 3, bits), (259, 3, [1]),
        (262, 3, [photometric]), (273, 4, [0]), *([(274, 3, [orientation])] if orientation else []),
        (277, 3, [len(bits)]), (278, 3, [size[1]]), (279, 4, [len(data)]),
        (339, 3, [sample_format] * len(bits)),
    ]  # fmt: skip
    base = 8 + 2 + 12 * len(tags) + 4
    place = 0
    for strip in (0, 1):  # the second time with the strip's place
        directory, extra = struct.pack(f"{order}H", len(tags)), b""
        for tag, kind, values in tags:
            if tag == 273 and strip:
                values = [place]
            packed = struct.pack(f"{order}{len(values)}{'H' if kind == 3 else 'I'}", *values)
            if len(packed) > 4:
                packed, extra = struct.pack(f"{order}I", base + len(extra)), extra + packed
            directory += struct.pack(f"{order}HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
        place = base + len(extra)
    mark = b"MM\0*" if big_endian else b"II*\0"
    path.write_bytes(mark + struct.pack(f"{order}I", 8) + directory + bytes(4) + extra + data)
    return path


def grey_tiff(path: Path, levels: np.ndarray, dtype: str, **options) -> Path:
    """Write levels (h, w) as a grey TIFF of the samples' own type."""
    kind = np.dtype(dtype)
    return tiff(
        path,
        levels.astype(kind).tobytes(),
        levels.shape[::-1],
        [8 * kind.itemsize],
        sample_format={"u": 1, "i": 2, "f": 3}[kind.kind],
        big_endian=kind.byteorder == ">",
        **options,
    )


def packed12(path: Path, levels: np.ndarray) -> Path:
    """Write levels 0..4095 as a TIFF with 12 bits a sample, two samples in three bytes."""
    bits = "".join(f"{level:012b}" for level in levels.ravel())
    data = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return tiff(path, data, levels.shape[::-1], [12])


def pnm(path: Path, levels: np.ndarray, maxval: int) -> Path:
    """Write a PGM (h, w) or PPM (h, w, 3) with its own full scale."""
    kind, size = ("P6", levels.shape[1::-1]) if levels.ndim == 3 else ("P5", levels.shape[::-1])
    dtype = ">u2" if maxval > 255 else "u1"
    head = f"{kind}\n{size[0]} {size[1]}\n{maxval}\n".encode()
    path.write_bytes(head + levels.astype(dtype).tobytes())
    return path


def turned(path: Path, orientation: int, pixels: np.ndarray) -> Path:
    """Save a picture that says how it is to be turned, by EXIF."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path
