"""One file of the cache of embedded pictures: keys, checksums, vectors; written once.

Layout, little-endian: magic (8 bytes), rows and width (uint32 each), the encoder's digest (32),
keys (rows x 20), checksums (rows x 8, of key and vector), checksum of all that (16), vectors (rows
x width float32). The size must be exactly that, so a cut-off file is told from a whole one at once;
a damaged vector is told when it is read.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deft.core.files import replace_atomically

SUFFIX = ".seg"
MAGIC = b"DEFTEMB\x01"
KEY_BYTES = 20  # of a picture's digest
SUM_BYTES = 8
HEAD_SUM_BYTES = 16
HEAD = struct.Struct("<8sII32s")


class BrokenSegment(Exception):
    """A file is no segment, is cut off, or its head is damaged."""


@dataclass(frozen=True)
class Segment:
    """The head of a segment. ``keys`` (n, 20) uint8, ``sums`` (n, 8) uint8."""

    path: Path
    dim: int
    keys: np.ndarray
    sums: np.ndarray

    @property
    def first_byte(self) -> int:
        """Where the vectors begin."""
        return HEAD.size + len(self.keys) * (KEY_BYTES + SUM_BYTES) + HEAD_SUM_BYTES


def write_segment(path: Path, digest: str, keys: np.ndarray, vectors: np.ndarray) -> Path:
    """Write keys (n, 20) uint8 and vectors (n, d) float32 of the encoder ``digest`` (hex)."""
    vectors = np.ascontiguousarray(vectors, dtype="<f4")
    keys = np.ascontiguousarray(keys, dtype=np.uint8)
    head = HEAD.pack(MAGIC, *vectors.shape, bytes.fromhex(digest))
    head += keys.tobytes() + row_sums(keys, vectors).tobytes()
    head += hashlib.blake2b(head, digest_size=HEAD_SUM_BYTES).digest()

    def write(temporary: Path) -> None:
        with temporary.open("wb") as handle:
            handle.write(head)
            handle.write(vectors.data.cast("B") if vectors.size else b"")

    return replace_atomically(path, write)


def read_head(path: Path, digest: str) -> Segment:
    """Return a segment's head.

    Raises :class:`BrokenSegment`; OSError when the file cannot be read at all.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise BrokenSegment("it is no file")
    with path.open("rb") as handle:
        size = os.fstat(handle.fileno()).st_size
        start = handle.read(HEAD.size)
        if len(start) < HEAD.size:
            raise BrokenSegment("it is cut off")
        magic, rows, dim, owner = HEAD.unpack(start)
        if magic != MAGIC:
            raise BrokenSegment("it is no segment of this version")
        if owner.hex() != digest:
            raise BrokenSegment(f"it belongs to the encoder {owner.hex()[:12]}")
        body = rows * (KEY_BYTES + SUM_BYTES)
        whole = HEAD.size + body + HEAD_SUM_BYTES + rows * dim * 4
        if size != whole:
            raise BrokenSegment(f"it has {size} bytes of {whole}")
        rest = handle.read(body + HEAD_SUM_BYTES)
    found = hashlib.blake2b(start + rest[:body], digest_size=HEAD_SUM_BYTES).digest()
    if found != rest[body:]:
        raise BrokenSegment("its head is damaged")
    flat = np.frombuffer(rest, np.uint8)
    keys = flat[: rows * KEY_BYTES].reshape(rows, KEY_BYTES)
    return Segment(path, dim, keys, flat[rows * KEY_BYTES : body].reshape(rows, SUM_BYTES))


def read_rows(path: Path, first_byte: int, dim: int, rows: np.ndarray) -> np.ndarray:
    """Return the vectors (len(rows), dim) of ``rows``, ascending; unread parts are NaN.

    Not mapped into memory: a file that another machine deletes would end this process.
    """
    out = np.full((len(rows), dim), np.nan, "<f4")
    if not out.size:
        return out
    runs = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
    flat = out.data.cast("B")
    width = dim * 4
    with path.open("rb", buffering=0) as handle:
        for begin, end in zip(runs, [*runs[1:], len(rows)], strict=True):
            handle.seek(first_byte + int(rows[begin]) * width)
            wanted = flat[begin * width : end * width]
            while len(wanted) and (count := handle.readinto(wanted)):
                wanted = wanted[count:]
    return out


def row_sums(keys: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return the checksums (n, 8) uint8 of rows: of the key and the bytes of the vector."""
    out = bytearray()
    for key, vector in zip(keys, vectors, strict=True):
        found = hashlib.blake2b(key, digest_size=SUM_BYTES)
        found.update(vector)
        out += found.digest()
    return np.frombuffer(bytes(out), np.uint8).reshape(-1, SUM_BYTES)
