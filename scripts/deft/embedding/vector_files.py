"""Pictures to vectors: every distinct picture that the cache lacks goes through the encoder once.

Files are read, decoded and resized by threads while the model computes. Memory is a few batches and
some hundred bytes a picture, whatever their number: vectors lie in the cache and are read from
there block by block.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deft.core.errors import HardStop
from deft.core.progress import Progress
from deft.embedding.cache import EmbeddingCache, Lookup, distinct_keys
from deft.embedding.encoders.base import Encoder
from deft.embedding.segment import KEY_BYTES

FILES_PER_TASK = 64  # read and hashed by one task of a thread
PICTURES_PER_TASK = 4  # decoded and resized
BATCHES_AHEAD = 2
ATTEMPTS = 3  # of reading vectors that another job's pruning takes away meanwhile
Prepared = tuple[list[int], np.ndarray]  # places and uint8 (batch, h, w, 3), zero beyond them


@dataclass
class Counts:
    """What became of the pictures: ``cached`` and ``embedded`` count distinct ones."""

    pictures: int
    distinct: int
    cached: int
    embedded: int

    def text(self) -> str:
        """Return one sentence."""
        copies = self.pictures - self.distinct
        return (
            f"{self.pictures} pictures: {self.embedded} embedded, {self.cached} from the cache"
            + (f", {copies} copies" if copies else "")
        )


class EmbeddedFiles:
    """The vectors of ``paths``, in order; a :class:`deft.embedding.vectors.VectorTable`.

    Parameters
    ----------
    workers: threads that read, decode and resize.
    what: named by the progress; empty = none is shown.

    Raises
    ------
    HardStop ``missing_input`` or ``image_invalid`` naming the picture, ``score_invalid`` for an
    encoder that gives no numbers. What was embedded before is kept in the cache.
    """

    def __init__(
        self,
        encoder: Encoder,
        paths: Sequence[str | Path],
        cache: EmbeddingCache,
        *,
        workers: int = 1,
        what: str = "",
    ) -> None:
        self.encoder, self.paths, self.workers, self.what = encoder, paths, max(1, workers), what
        self.rows, self.dim = len(paths), encoder.dim
        keys, self._first, self._back = distinct_keys(file_digests(paths, self.workers, what))
        self._lookup = Lookup(cache, keys)
        missing = len(self._lookup.missing())
        self.counts = Counts(len(paths), len(keys), len(keys) - missing, missing)
        self._embed_missing()
        self._lookup.touch()

    def blocks(self, rows: int) -> Iterator[np.ndarray]:
        """See :class:`deft.embedding.vectors.VectorTable`."""
        for start in range(0, self.rows, rows):
            yield self._vectors(self._back[start : start + rows])

    def array(self) -> np.ndarray:
        """Return all vectors, float32 (n, d); for a number that fits in memory."""
        empty = np.empty((0, self.dim), np.float32)
        return np.concatenate([empty, *self.blocks(4096)])

    def _vectors(self, which: np.ndarray) -> np.ndarray:
        for _ in range(ATTEMPTS):
            vectors, good = self._lookup.read(which)
            if good.all():
                return vectors
            self._lookup.scan(again=True)
            self._embed_missing()
        raise RuntimeError(f"{self._lookup.cache.folder} loses vectors as soon as they are written")

    def _embed_missing(self) -> None:
        missing = self._lookup.missing()
        if not len(missing):
            return
        # In the order of the table, which neighbours on the disk follow.
        places = missing[np.argsort(self._first[missing], kind="stable")]
        cache, keys = self._lookup.cache, self._lookup.keys
        progress = Progress(len(places), self.what) if self.what else None
        try:
            for part, pictures in self._prepared(places):
                vectors = self.encoder.forward(pictures)[: len(part)]
                self._check(part, vectors)
                cache.put(keys[part], vectors)
                if progress:
                    progress(len(part))
        finally:
            cache.flush()
            if progress:
                progress.close()
        self._lookup.scan()

    def _prepared(self, places: np.ndarray) -> Iterator[Prepared]:
        """Yield batches of pictures, prepared ahead; a batch is overwritten after the next ones."""
        size = self.encoder.batch_size
        waiting: deque[tuple[Prepared, list[Future[None]]]] = deque()
        spare: deque[np.ndarray] = deque()
        with ThreadPoolExecutor(self.workers) as pool:
            try:
                for start in range(0, len(places), size):
                    part = [int(place) for place in places[start : start + size]]
                    if len(waiting) > BATCHES_AHEAD:
                        batch = _ready(waiting.popleft())
                        yield batch
                        spare.append(batch[1])
                    pictures = (
                        spare.popleft()
                        if spare
                        else np.zeros((size, *self.encoder.size_px, 3), np.uint8)
                    )
                    pictures[len(part) :] = 0
                    tasks = [
                        pool.submit(self._prepare, pictures, part, i)
                        for i in range(0, len(part), PICTURES_PER_TASK)
                    ]
                    waiting.append(((part, pictures), tasks))
                while waiting:
                    yield _ready(waiting.popleft())
            finally:
                for _, tasks in waiting:  # after a broken picture nothing more is decoded
                    for task in tasks:
                        task.cancel()

    def _prepare(self, pictures: np.ndarray, part: list[int], start: int) -> None:
        for i in range(start, min(start + PICTURES_PER_TASK, len(part))):
            path = Path(self.paths[self._first[part[i]]])
            pictures[i] = self.encoder.prepare(path)
            # Else a picture that is replaced just now would poison the cache under its old key.
            if file_digest(path) != self._lookup.keys[part[i]].tobytes():
                raise HardStop(
                    "image_invalid",
                    "the picture changed while it was being embedded",
                    file=path,
                    fix="run again when nothing writes to the picture",
                )

    def _check(self, part: list[int], vectors: np.ndarray) -> None:
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(bad):
            raise HardStop(
                "score_invalid",
                f"encoder {self.encoder.name} gives numbers that are not finite",
                file=self.paths[self._first[part[bad[0]]]],
                fix="check the encoder's weights; with embed_precision: bfloat16 try float32",
            )


def _ready(batch: tuple[Prepared, list[Future[None]]]) -> Prepared:
    prepared, tasks = batch
    for task in tasks:
        task.result()
    return prepared


def file_digest(path: str | Path) -> bytes:
    """Return the digest (20 bytes) of a file's bytes.

    Raises HardStop ``missing_input`` or ``image_invalid`` when it cannot be read.
    """
    try:
        with open(path, "rb", buffering=0) as handle:
            return hashlib.blake2b(handle.read(), digest_size=KEY_BYTES).digest()
    except (FileNotFoundError, NotADirectoryError):
        raise HardStop(
            "missing_input",
            "the picture does not exist",
            file=path,
            fix="restore the picture, or remove its row from the table",
        ) from None
    except IsADirectoryError:
        raise HardStop("image_invalid", "a folder stands where a picture is due", file=path) from (
            None
        )


def file_digests(paths: Sequence[str | Path], workers: int = 1, what: str = "") -> np.ndarray:
    """Return the digests of files as uint8 (n, 20); raises what :func:`file_digest` raises."""

    def some(start: int) -> bytes:
        return b"".join(file_digest(path) for path in paths[start : start + FILES_PER_TASK])

    progress = Progress(len(paths), f"{what}: read") if what else None
    found = bytearray()
    with ThreadPoolExecutor(workers) as pool:
        for part in in_order(pool, some, range(0, len(paths), FILES_PER_TASK), 4 * workers):
            found += part
            if progress:
                progress(len(part) // KEY_BYTES)
    if progress:
        progress.close()
    return np.frombuffer(bytes(found), np.uint8).reshape(-1, KEY_BYTES)


def in_order(
    pool: ThreadPoolExecutor, work: Callable[[int], bytes], items: Sequence[int], ahead: int
) -> Iterator[bytes]:
    """Yield ``work(item)`` in order; at most ``ahead`` + 1 are under way or wait."""
    waiting: deque[Future[bytes]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
