"""What a picture shows, as two numbers: a digest of its pixels and a 64-bit difference hash."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from deft.core.errors import HardStop
from deft.tables.pictures import PictureError, open_rgb

DIGEST_BYTES = 20
PROGRESS_EVERY = 5000  # pictures between two progress lines
_cache: dict[tuple[str, int, int, int | None], Fingerprint] = {}
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)  # there is one a picture, of a million rows
class Fingerprint:
    """``digest``: hex, equal for equal decoded pixels. ``dhash``: unsigned 64-bit.

    ``flat``: every pixel is the same.
    """

    digest: str
    dhash: int
    flat: bool = False


def decode(path: str | Path, levels: int | None = None) -> Image.Image:
    """Return a picture, fully decoded, RGB; ``levels``: see :func:`deft.tables.pictures.open_rgb`.

    Raises
    ------
    HardStop ``missing_input`` (no such file) or ``image_invalid`` (all else that is refused there;
    a picture that only ``levels`` makes readable has ``mode`` and ``largest`` in its evidence).
    """
    try:
        return open_rgb(path, levels)
    except PictureError as error:
        code = "missing_input" if error.missing else "image_invalid"
        deep = {} if error.mode is None else {"mode": error.mode, "largest": error.largest}
        fix = error.fix or ("" if error.missing else "replace the picture or remove its row")
        raise HardStop(
            code, error.reason, file=error.path, fix=fix or None, evidence=deep
        ) from None


def fingerprint(path: str | Path, levels: int | None = None) -> Fingerprint:
    """Return the fingerprint of a picture as the network sees it.

    Computed once per process and file state. Raises as :func:`decode` does.
    """
    path = Path(path)
    try:
        status = path.stat()
        key = (str(path.resolve()), status.st_size, status.st_mtime_ns, levels)
    except OSError:
        key = None
    with _lock:
        if key in _cache:
            return _cache[key]
    result = _fingerprint(decode(path, levels))
    if key is not None:
        with _lock:
            _cache[key] = result
    return result


def _fingerprint(image: Image.Image) -> Fingerprint:
    # RGB makes a copy in another format or palette equal.
    pixels = np.asarray(image)
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    digest.update(repr((pixels.shape, pixels.dtype.str)).encode())
    digest.update(np.ascontiguousarray(pixels).tobytes())
    # imagehash.dhash, without importing scipy for it.
    small = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.LANCZOS))
    bits = np.packbits((small[:, 1:] > small[:, :-1]).ravel())
    flat = bool((pixels == pixels[:1, :1]).all())
    return Fingerprint(digest.hexdigest(), int.from_bytes(bits.tobytes(), "big"), flat)


def pixel_digest(path: str | Path, levels: int | None = None) -> str:
    """Return a digest of the decoded pixels: equal pictures, equal digests, in any format."""
    return fingerprint(path, levels).digest


def fingerprints(
    paths: Sequence[str | Path],
    workers: int | None = None,
    *,
    skip_broken: bool = False,
    log: Callable[[str], None] | None = None,
    levels: int | None = None,
) -> list[Fingerprint | None]:
    """Return one fingerprint per path, in order; each distinct file is decoded once.

    ``skip_broken`` gives None for a missing or broken picture instead of raising.
    Decoding and hashing release the interpreter lock, so threads use all cores.
    """

    def one(path: str) -> Fingerprint | None:
        try:
            return fingerprint(path, levels)
        except HardStop:
            if skip_broken:
                return None
            raise

    distinct = list(dict.fromkeys(str(p) for p in paths))
    found: dict[str, Fingerprint | None] = {}
    with ThreadPoolExecutor(workers or min(16, os.cpu_count() or 1)) as pool:
        # Batches keep the queue short when a table has millions of rows.
        for start in range(0, len(distinct), PROGRESS_EVERY):
            batch = distinct[start : start + PROGRESS_EVERY]
            found.update(zip(batch, pool.map(one, batch), strict=True))
            if log and len(distinct) > PROGRESS_EVERY:
                log(f"pictures hashed: {len(found)} of {len(distinct)}")
    return [found[str(p)] for p in paths]


def content_digests(
    paths: Sequence[str | Path], workers: int | None = None, levels: int | None = None
) -> list[str]:
    """Return :func:`pixel_digest` of many pictures, in order."""
    return [f.digest for f in fingerprints(paths, workers, levels=levels) if f is not None]
