"""Embedded pictures kept by content: digest of the file's bytes x digest of the encoder.

A folder per encoder holds segments (:mod:`deft.embedding.segment`). A segment is written whole
under a new name and never changed, so that any number of jobs on any number of machines read and
write without locks: what two of them embed at once is kept twice. A segment that is cut off or
damaged is left out with a warning and its pictures are embedded again.
"""

from __future__ import annotations

import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np

from deft.core.errors import HardStop
from deft.core.files import write_json_atomic
from deft.embedding.segment import (
    KEY_BYTES,
    SUFFIX,
    SUM_BYTES,
    BrokenSegment,
    Segment,
    read_head,
    read_rows,
    row_sums,
    write_segment,
)

DEFAULT_FOLDER = "results/embedding_cache"
OFF = "off"
ENCODER_FILE = "encoder.json"
FOLDER_DIGITS = 32  # of the encoder's digest, in the folder's name
SEGMENT_ROWS = 8192
FLUSH_S = 60.0  # so much work is lost at most when a job is killed
USED_AGAIN_S = 86_400.0  # the time of the last use is kept to the day
Log = Callable[[str], None]


class EncoderFacts(Protocol):
    """What the cache asks of an encoder."""

    name: str
    dim: int
    digest: str


def cache_folder(workspace: str | Path, setting: str | None) -> Path | None:
    """Return the folder that ``embedding_cache`` names, None for ``off``."""
    if setting == OFF:
        return None
    given = Path(setting).expanduser() if setting else Path(DEFAULT_FOLDER)
    return Path(os.path.abspath(workspace)) / given


class EmbeddingCache:
    """The vectors of one encoder.

    Parameters
    ----------
    folder: of all encoders; made when it is not there.

    Raises HardStop ``config_invalid`` when the folder cannot be made or written.
    """

    def __init__(self, folder: str | Path, encoder: EncoderFacts, log: Log = print) -> None:
        self.dim, self.digest, self.log = encoder.dim, encoder.digest, log
        self.folder = Path(folder) / encoder.digest[:FOLDER_DIGITS]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            facts = {"name": encoder.name, "dim": encoder.dim, "digest": encoder.digest}
            if not (self.folder / ENCODER_FILE).is_file():
                write_json_atomic(self.folder / ENCODER_FILE, facts)
            tempfile.TemporaryFile(dir=self.folder).close()
        except OSError as error:
            raise HardStop(
                "config_invalid",
                f"the cache of embedded pictures cannot be written ({error.strerror or error})",
                file=folder,
                fix='name another folder in embedding_cache, or set embedding_cache: "off"',
            ) from None
        self._keys: list[np.ndarray] = []
        self._vectors: list[np.ndarray] = []
        self._waiting = 0
        self._flushed = time.monotonic()

    def segments(self) -> list[Path]:
        """Return the segments' files, the oldest first."""
        return segments_in(self.folder)

    def put(self, keys: np.ndarray, vectors: np.ndarray) -> None:
        """Keep vectors (n, d) float32 under keys (n, 20) uint8, on disk within a minute or so."""
        self._keys.append(keys.copy())
        self._vectors.append(vectors.copy())
        self._waiting += len(keys)
        late = time.monotonic() - self._flushed > FLUSH_S
        if self._waiting >= SEGMENT_ROWS or late:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        self._flushed = time.monotonic()
        if not self._waiting:
            return
        keys, vectors = np.concatenate(self._keys), np.concatenate(self._vectors)
        self._keys, self._vectors, self._waiting = [], [], 0
        for start in range(0, len(keys), SEGMENT_ROWS):
            part = slice(start, start + SEGMENT_ROWS)
            write_segment(new_segment(self.folder), self.digest, keys[part], vectors[part])
        self._flushed = time.monotonic()


@contextmanager
def open_cache(
    folder: Path | None, encoder: EncoderFacts, log: Log = print
) -> Iterator[EmbeddingCache]:
    """Give the cache of an encoder; without a folder one that lives as long as the block."""
    if folder is not None:
        yield EmbeddingCache(folder, encoder, log)
        return
    with tempfile.TemporaryDirectory(prefix="deft_embed_") as temporary:
        yield EmbeddingCache(temporary, encoder, log)


def segments_in(folder: Path) -> list[Path]:
    """Return the segments of an encoder's folder, the oldest first; unfinished ones are hidden."""
    names = (n for n in os.listdir(folder) if n.endswith(SUFFIX) and not n.startswith("."))
    return [folder / name for name in sorted(names)]


def new_segment(folder: Path, time_ns: int | None = None) -> Path:
    """Return a name that nobody else takes; names sort by time, and the first of equals counts."""
    stamp = time.time_ns() if time_ns is None else time_ns
    return folder / f"{stamp:020d}-{uuid.uuid4().hex[:12]}{SUFFIX}"


class Lookup:
    """Where the vectors of some pictures lie. Memory follows the pictures, not the cache.

    ``keys``: (n, 20) uint8, distinct, in ascending order of their bytes.
    """

    def __init__(self, cache: EmbeddingCache, keys: np.ndarray) -> None:
        self.cache, self.keys = cache, np.ascontiguousarray(keys)
        self._short = _short(self.keys)
        self._places: list[tuple[Path, int]] = []  # file and first byte of its vectors
        self._known: set[Path] = set()
        self._bad: set[Path] = set()
        self._place = np.full(len(keys), -1, np.int32)
        self._row = np.zeros(len(keys), np.int64)
        self._sum = np.zeros((len(keys), SUM_BYTES), np.uint8)
        self.scan()

    def missing(self) -> np.ndarray:
        """Return the places in ``keys`` that have no vector."""
        return np.flatnonzero(self._place < 0)

    def scan(self, *, again: bool = False) -> None:
        """Look into segments that are new since the last time, or into all of them ``again``."""
        if again:
            self._known = set(self._bad)
        for path in self.cache.segments():
            if path in self._known or not len(self.missing()):
                continue
            self._known.add(path)
            try:
                head = read_head(path, self.cache.digest)
                if head.dim != self.cache.dim:
                    raise BrokenSegment(f"its vectors have {head.dim} numbers")
            except BrokenSegment as error:
                self._leave_out(path, str(error))
            except FileNotFoundError:
                continue  # pruned meanwhile
            except OSError as error:
                self._leave_out(path, str(error))
            else:
                self._match(head)

    def _leave_out(self, path: Path, why: str) -> None:
        self._bad.add(path)
        self.cache.log(f"warning: {path} is left out: {why}; what it held is embedded again")

    def _match(self, head: Segment) -> None:
        """Note the keys that a segment has and none before it had."""
        short = _short(head.keys)
        at = np.searchsorted(self._short, short)
        left = np.arange(len(short))
        while len(left):
            inside = at[left] < len(self.keys)
            left = left[inside]
            left = left[self._short[at[left]] == short[left]]
            same = (self.keys[at[left]] == head.keys[left]).all(axis=1)
            # The first row of a segment wins, too: written last to first.
            hit = left[same & (self._place[at[left]] < 0)][::-1]
            self._place[at[hit]] = len(self._places)
            self._row[at[hit]] = hit
            self._sum[at[hit]] = head.sums[hit]
            left = left[~same]
            at[left] += 1  # two keys with equal first bytes
        self._places.append((head.path, head.first_byte))

    def read(self, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the vectors (m, d) of ``keys[which]`` and whether each is there and sound (m,).

        Those that are not are missing from now on.
        """
        wanted, back = np.unique(which, return_inverse=True)
        out = np.zeros((len(wanted), self.cache.dim), np.float32)
        good = np.zeros(len(wanted), bool)
        for place in np.unique(self._place[wanted]):
            if place < 0:
                continue
            mine = np.flatnonzero(self._place[wanted] == place)
            mine = mine[np.argsort(self._row[wanted[mine]], kind="stable")]
            found = self._read_place(int(place), wanted[mine])
            if found is not None:
                out[mine], good[mine] = found
        self._place[wanted[~good]] = -1
        return out[back], good[back]

    def _read_place(self, place: int, at: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        path, first_byte = self._places[place]
        try:
            vectors = read_rows(path, first_byte, self.cache.dim, self._row[at])
        except OSError:  # deleted or merged by a pruning elsewhere
            return None
        good = (row_sums(self.keys[at], vectors) == self._sum[at]).all(axis=1)
        if not good.all() and path not in self._bad:
            self._leave_out(path, f"{int((~good).sum())} of its vectors are damaged")
        return vectors, good

    def touch(self) -> None:
        """Note on the segments in use that they are, for :mod:`deft.embedding.prune`."""
        for place in np.unique(self._place):
            path = self._places[place][0] if place >= 0 else None
            try:
                if path and time.time() - path.stat().st_mtime > USED_AGAIN_S:
                    os.utime(path)
            except OSError:
                pass  # another's file, or pruned meanwhile: its age counts as it is


def _short(keys: np.ndarray) -> np.ndarray:
    """Return the first eight bytes of keys (n, 20) as numbers that sort like the keys."""
    first = np.ascontiguousarray(keys[:, :8]).reshape(-1, 8)
    return first.view(">u8").ravel().astype(np.uint64)


def distinct_keys(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the distinct keys (m, 20), sorted, each one's first row, and each row's place (n,)."""
    text = np.ascontiguousarray(keys).view(f"S{KEY_BYTES}").ravel()
    _, first, back = np.unique(text, return_index=True, return_inverse=True)
    return keys[first], first, back
