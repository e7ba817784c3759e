"""What a picture shows, as two numbers: a digest of its pixels and a 64-bit difference hash.

Inside :func:`deft.tables.kept.keeping` they are taken from the
workspace's store where the picture's file is the one that was read, and put there where it is not.
"""

from __future__ import annotations

import hashlib
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, features

from deft.core.errors import HardStop
from deft.tables import kept, pictures
from deft.tables.kept import VALUE_BYTES, FileState, file_state, kind_of
from deft.tables.pictures import PictureError, open_rgb

DIGEST_BYTES = 20
PROGRESS_EVERY = 5000  # pictures between two progress lines
PER_TASK = 32  # pictures of a thread's task: handing one over costs as much as a small picture
SEEN_AGAIN = 32  # kept pictures, drawn at each opening of a store, that are read all the same
_cache: dict[tuple[FileState, int | None], Fingerprint] = {}  # of a process without a store
_lock = threading.Lock()
T = TypeVar("T")


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
    (known,) = known_prints([path], levels)
    return known or _read(path, levels)


def known_prints(
    paths: Sequence[str | Path], levels: int | None = None, *, links: bool = True
) -> list[Fingerprint | None]:
    """Return the fingerprints of pictures that were read before, None for the others.

    Raises nothing about a picture that is missing. Without ``links`` a link counts as unknown.
    """
    states, store = [file_state(path, links=links) for path in paths], kept.current()
    if store is None:
        with _lock:
            return [None if state is None else _cache.get((state, levels)) for state in states]
    values = store.get(states, _kind(levels))
    return [None if value is None else _unpacked(value) for value in values]


def _read(path: str | Path, levels: int | None) -> Fingerprint:
    asked_ns, state, store = time.time_ns(), file_state(path), kept.current()
    result = _fingerprint(decode(path, levels))
    if state is not None and store is not None:
        store.put(state, _kind(levels), _packed(result), asked_ns)
    elif state is not None:
        with _lock:
            _cache[state, levels] = result
    return result


@cache
def _kind(levels: int | None) -> int:
    return kind_of("fingerprint", computed_by(__file__), levels)


@cache
def computed_by(*code: str) -> str:
    """Return what names the code of a fact of pictures (source files) and all that decodes them."""
    source = b"".join(Path(name).read_bytes() for name in (*code, pictures.__file__))
    packages = [f"{name} {features.version(name)}" for name in ("pil", "jpg", "libtiff", "webp")]
    for name in ("opencv-python-headless", "scipy"):
        with suppress(metadata.PackageNotFoundError):
            packages.append(f"{name} {metadata.version(name)}")
    return " ".join([hashlib.sha256(source).hexdigest(), np.__version__, sys.byteorder, *packages])


def _packed(print_: Fingerprint) -> bytes:
    digest, dhash = bytes.fromhex(print_.digest), print_.dhash.to_bytes(8, "big")
    return (digest + dhash + bytes([print_.flat])).ljust(VALUE_BYTES, b"\0")


def _unpacked(value: bytes) -> Fingerprint:
    dhash = int.from_bytes(value[DIGEST_BYTES : DIGEST_BYTES + 8], "big")
    return Fingerprint(value[:DIGEST_BYTES].hex(), dhash, bool(value[DIGEST_BYTES + 8]))


def see_again(paths: Sequence[str | Path], levels: int | None = None) -> None:
    """Read some pictures that the store has, whichever: it must have what they show.

    Raises
    ------
    HardStop ``image_invalid`` naming the first that shows something else; the store is deleted.
    """
    store = kept.current()
    if store is None or not len(store):
        return
    for path in random.SystemRandom().sample(list(paths), min(SEEN_AGAIN, len(paths))):
        (known,) = known_prints([path], levels)
        state = file_state(path)
        if known is None:
            continue
        try:
            seen = _fingerprint(decode(path, levels))
        except HardStop:
            seen = None
        if seen == known or file_state(path) != state:
            continue
        store.forget()
        raise HardStop(
            "image_invalid",
            f"{store.store.name} has another picture than this file shows, though neither its "
            "size nor its times changed: a failing disk, or a store that somebody edited",
            file=path,
            fix="look at the disk; the store is deleted, and the next command reads every picture",
        )


def _fingerprint(image: Image.Image) -> Fingerprint:
    # RGB makes a copy in another format or palette equal.
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    shape = image.height, image.width, len(image.getbands())
    digest.update(repr((shape, "|u1")).encode())
    digest.update(image.tobytes())
    # imagehash.dhash, without importing scipy for it.
    small = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.LANCZOS))
    bits = np.packbits((small[:, 1:] > small[:, :-1]).ravel())
    flat = int(small.min()) == int(small.max())
    if flat:  # as the small one of a flat picture is, and of few others
        pixels = np.asarray(image)
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
            return _read(path, levels)
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
            found.update(zip(batch, known_prints(batch, levels), strict=True))
            new = [path for path in batch if found[path] is None]
            found.update(zip(new, in_parts(pool, one, new), strict=True))
            if log and len(distinct) > PROGRESS_EVERY:
                log(f"pictures hashed: {len(found)} of {len(distinct)}")
    return [found[str(p)] for p in paths]


def in_parts(pool: ThreadPoolExecutor, work: Callable[[str], T], items: Sequence[str]) -> list[T]:
    """Return ``work`` of each item, in order; a thread takes several at a time."""
    parts = [items[i : i + PER_TASK] for i in range(0, len(items), PER_TASK)]
    done = pool.map(lambda part: [work(item) for item in part], parts)
    return [found for part in done for found in part]


def content_digests(
    paths: Sequence[str | Path], workers: int | None = None, levels: int | None = None
) -> list[str]:
    """Return :func:`pixel_digest` of many pictures, in order."""
    return [f.digest for f in fingerprints(paths, workers, levels=levels) if f is not None]
