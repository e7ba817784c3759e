"""Keep the cache of embedded pictures small: drop by encoder, age and size; merge small segments.

Safe beside jobs that read and write: what they hold open stays readable where the file system keeps
open files, and elsewhere they look again and find the merged segment, or embed the pictures.
Only segments, and temporary files that a killed job left, are ever deleted.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from deft.core.errors import HardStop
from deft.core.reading import read_json, warn
from deft.embedding.cache import ENCODER_FILE, FOLDER_DIGITS, Log, new_segment, segments_in
from deft.embedding.segment import (
    SUFFIX,
    BrokenSegment,
    Segment,
    read_head,
    read_rows,
    row_sums,
    write_segment,
)

DAY_S = 86_400.0
GB = 10**9
MERGED_BYTES = 2**28  # of a merged segment's vectors, at most; memory is about as much
LOCK_FILE = ".prune.lock"


@dataclass
class Kept:
    """What an encoder has in the cache after pruning; ``used`` is the last use, epoch seconds."""

    name: str
    digest: str
    segments: int
    vectors: int
    bytes: int
    used: float


def prune(
    root: Path,
    *,
    days: float | None = None,
    gb: float | None = None,
    encoder: str | None = None,
    now: float | None = None,
    log: Log = print,
) -> list[Kept]:
    """Prune the cache below ``root`` and return what is left, by encoder.

    Parameters
    ----------
    days: segments that no job has used for longer go.
    gb: then the longest unused go until the rest is no larger (10^9 bytes).
    encoder: all of the encoders of this name, or whose digest begins so, go.

    Raises HardStop ``config_invalid`` when ``encoder`` names none.
    """
    now = time.time() if now is None else now
    if not root.is_dir():
        return []
    with FileLock(root / LOCK_FILE):  # of prunings among each other
        folders = list(encoders_in(root))
        if encoder is not None:
            _drop_encoder(folders, encoder, log)
        for folder, facts in folders:
            _drop_broken(folder, facts["digest"], now, log)
        _drop_old(folders, now, days, gb, log)
        for folder, facts in folders:
            _merge(folder, facts["digest"], log)
        return [kept for folder, facts in folders if (kept := _kept(folder, facts)).segments]


def encoders_in(root: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the folder of each encoder and its facts; anything else below ``root`` is foreign."""
    for folder in sorted(root.iterdir()):
        named = re.fullmatch(rf"[0-9a-f]{{{FOLDER_DIGITS}}}", folder.name)
        if named and (folder / ENCODER_FILE).is_file():
            try:
                facts = read_json(folder / ENCODER_FILE, {"name": str, "digest": str})
            except HardStop as stop:  # whose vectors these are is not known: left alone
                warn(f"warning: {stop.text()}")
                continue
            if facts["digest"].startswith(folder.name):
                yield folder, facts


def _drop_encoder(folders: list[tuple[Path, dict[str, Any]]], wanted: str, log: Log) -> None:
    mine = [
        (folder, facts)
        for folder, facts in folders
        if facts["name"] == wanted or facts["digest"].startswith(wanted)
    ]
    if not mine:
        known = ", ".join(f"{f['name']} {f['digest'][:12]}" for _, f in folders) or "none"
        raise HardStop(
            "config_invalid",
            f"prune_encoder {wanted!r} is neither name nor beginning of a digest in the cache",
            fix=f"it holds: {known}",
        )
    for folder, facts in mine:
        for path in segments_in(folder):
            path.unlink(missing_ok=True)
        log(f"dropped all of {facts['name']} {facts['digest'][:12]}")


def _drop_broken(folder: Path, digest: str, now: float, log: Log) -> None:
    for path in folder.glob(f".*.tmp{SUFFIX}"):
        # A younger one may be under way.
        if (age := _stat(path, lambda s: now - s.st_mtime)) and age > DAY_S:
            path.unlink(missing_ok=True)
    for path in segments_in(folder):
        try:
            read_head(path, digest)
        except BrokenSegment as error:
            if not path.is_file():
                continue  # not ours, whatever it is
            path.unlink(missing_ok=True)
            log(f"dropped {path.name}: {error}")
        except FileNotFoundError:
            continue


def _stat(path: Path, value: Callable[[os.stat_result], float]) -> float:
    try:
        return value(path.stat())
    except FileNotFoundError:
        return 0.0


def _drop_old(
    folders: list[tuple[Path, dict[str, Any]]],
    now: float,
    days: float | None,
    gb: float | None,
    log: Log,
) -> None:
    found = [
        (_stat(path, lambda s: s.st_mtime), _stat(path, lambda s: s.st_size), path)
        for folder, _ in folders
        for path in segments_in(folder)
    ]
    found.sort(key=lambda one: (one[0], str(one[2])))
    whole = sum(size for _, size, _ in found)
    dropped = 0
    for used, size, path in found:
        old = days is not None and now - used > days * DAY_S
        large = gb is not None and whole > gb * GB
        if old or large:
            path.unlink(missing_ok=True)
            whole -= size
            dropped += 1
    if dropped:
        log(f"dropped {dropped} segment(s) that were unused the longest")


def _merge(folder: Path, digest: str, log: Log) -> None:
    """Merge neighbouring small segments and drop what stands in two of them."""
    group: list[Segment] = []
    size = 0
    for path in segments_in(folder):
        try:
            head = read_head(path, digest)
        except (BrokenSegment, FileNotFoundError):
            continue
        bytes_ = len(head.keys) * head.dim * 4
        if size + bytes_ > MERGED_BYTES:
            _merge_group(folder, digest, group, log)
            group, size = [], 0
        group.append(head)
        size += bytes_
    _merge_group(folder, digest, group, log)


def _merge_group(folder: Path, digest: str, group: list[Segment], log: Log) -> None:
    """Write one segment in place of several; the first vector of a key is the one that counts."""
    if len(group) < 2:
        return
    keys, vectors = [], []
    seen: set[bytes] = set()
    used = max(_stat(head.path, lambda s: s.st_mtime) for head in group)
    for head in group:
        fresh = [i for i, key in enumerate(head.keys) if _new(key.tobytes(), seen)]
        rows = np.array(fresh, np.int64)
        try:
            found = read_rows(head.path, head.first_byte, head.dim, rows)
        except OSError:
            return  # another's pruning was here; nothing is lost
        good = (row_sums(head.keys[rows], found) == head.sums[rows]).all(axis=1)
        if not good.all():
            log(f"dropped {int((~good).sum())} damaged vector(s) of {head.path.name}")
        seen -= {key.tobytes() for key in head.keys[rows[~good]]}
        keys.append(head.keys[rows[good]])
        vectors.append(found[good])
    # Named as the oldest, so that it keeps its place among the others.
    stamp = int(group[0].path.name.split("-")[0])
    path = write_segment(
        new_segment(folder, stamp), digest, np.concatenate(keys), np.concatenate(vectors)
    )
    os.utime(path, (used, used))
    for head in group:
        head.path.unlink(missing_ok=True)
    log(f"merged {len(group)} segments of {folder.name[:12]}")


def _new(key: bytes, seen: set[bytes]) -> bool:
    if key in seen:
        return False
    seen.add(key)
    return True


def _kept(folder: Path, facts: dict[str, Any]) -> Kept:
    count = vectors = size = 0
    used = 0.0
    for path in segments_in(folder):
        try:
            head = read_head(path, facts["digest"])
        except (BrokenSegment, FileNotFoundError):
            continue
        count, vectors = count + 1, vectors + len(head.keys)
        size += int(_stat(path, lambda s: s.st_size))
        used = max(used, _stat(path, lambda s: s.st_mtime))
    return Kept(facts["name"], facts["digest"], count, vectors, size, used)


def table(found: list[Kept], now: float | None = None) -> str:
    """Return what is kept as lines of text."""
    now = time.time() if now is None else now
    lines = [f"{'encoder':<12} {'digest':<12} {'vectors':>10} {'MB':>9} {'segments':>8} unused"]
    lines += [
        f"{k.name:<12} {k.digest[:12]} {k.vectors:>10} {k.bytes / 10**6:>9.1f} {k.segments:>8} "
        f"{max(0.0, now - k.used) / DAY_S:.0f} days"
        for k in found
    ]
    return "\n".join(lines if found else ["the cache is empty"])
