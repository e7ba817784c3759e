"""Scoring rows: pictures are decoded by threads into the next batches while the network works."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from .errors import Stop
from .network import Network
from .pictures import PictureError
from .prepare import Preparer
from .table import Parts

AHEAD = 3  # batches in memory: one that is computed, two that are filled
LINE_EVERY_S = 5.0


class Filled(NamedTuple):
    """A batch on its way: its rows, its arrays, and the threads' work on them."""

    rows: Sequence[int]
    inputs: list[np.ndarray]
    work: list[Future[None]]


def score_rows(
    parts: Parts,
    network: Network,
    rows: Sequence[int],
    *,
    workers: int,
    done: Callable[[Sequence[int], np.ndarray, np.ndarray | None], None],
) -> None:
    """Score ``rows`` of ``parts``; ``done`` is called for each batch, in order.

    It is given rows, scores and the network's features (None where it gives none).

    ``workers``: threads that decode. Raises Stop ``image_invalid``, ``missing_input`` or
    ``score_invalid`` with the row, after ``done`` was called for the batches before it.
    """
    preparer = Preparer(network.facts)
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for batch in _filled(parts, preparer, network, rows, pool):
            scores, features = network.scores(batch.inputs, len(batch.rows))
            broken = np.flatnonzero(~np.isfinite(scores))
            if len(broken):
                raise Stop(
                    "score_invalid",
                    f"the network gives no finite score (first: {scores[broken[0]]}, of "
                    f"{parts.test[batch.rows[int(broken[0])]][0]})",
                    file=parts.source,
                    rows=parts.lines(*(batch.rows[int(i)] for i in broken)),
                    fix="look at the pictures of that part; else copy the hand-off again",
                )
            done(batch.rows, scores, features)


def _filled(
    parts: Parts,
    preparer: Preparer,
    network: Network,
    rows: Sequence[int],
    pool: ThreadPoolExecutor,
) -> Iterator[Filled]:
    free = [network.buffers() for _ in range(min(AHEAD, -(-len(rows) // network.batch)))]
    chunks = deque(rows[i : i + network.batch] for i in range(0, len(rows), network.batch))
    waiting: deque[Filled] = deque()
    try:
        while chunks or waiting:
            while chunks and free:
                chunk, inputs = chunks.popleft(), free.pop()
                work = [
                    pool.submit(_prepare, parts, preparer, row, [side[place] for side in inputs])
                    for place, row in enumerate(chunk)
                ]
                waiting.append(Filled(chunk, inputs, work))
            batch = waiting.popleft()
            for future in batch.work:
                future.result()
            yield batch
            free.append(batch.inputs)
    finally:
        for batch in waiting:  # after a broken picture nothing more is decoded
            for future in batch.work:
                future.cancel()


def _prepare(parts: Parts, preparer: Preparer, row: int, out: list[np.ndarray]) -> None:
    try:
        preparer.write_pair(parts.test[row], parts.golden[row], out)
    except PictureError as error:
        raise Stop(
            "missing_input" if error.missing else "image_invalid",
            f"picture {error.path}: {error.reason}",
            file=parts.source,
            rows=parts.lines(row),
            fix=error.fix or "restore the picture, or remove its part",
        ) from None


class Progress:
    """How far the work is: a bar on a terminal, a line every few seconds elsewhere."""

    def __init__(self, total: int, done: int = 0) -> None:
        self.total, self.done, self.first = total, done, done
        self.bar = sys.stderr.isatty()
        self.began = self.said = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.began

    @property
    def rate(self) -> float:
        """Pairs a second since the start."""
        return (self.done - self.first) / max(self.seconds, 1e-9)

    def __call__(self, count: int) -> None:
        """Report ``count`` further pairs."""
        self.done += count
        now = time.monotonic()
        last = self.done == self.total
        if not self.bar and (last or now - self.said < LINE_EVERY_S):
            return
        if self.bar and not last and now - self.said < 0.1:
            return
        self.said = now
        left = (self.total - self.done) / max(self.rate, 1e-9)
        text = f"{self.done}/{self.total}, {self.rate:.3g} pairs/s, {left:.0f} s left"
        if self.bar:
            full = 30 * self.done // max(self.total, 1)
            end = "\n" if last else ""
            text = f"\r[{'#' * full}{'.' * (30 - full)}] {text}   {end}"
            print(text, end="", file=sys.stderr, flush=True)
        else:
            print(f"scored {text}", file=sys.stderr, flush=True)
