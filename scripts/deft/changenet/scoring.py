"""Running a network over a table: every picture through the backbone once, goldens kept.

A table shows the same goldens again and again. Rows with the same goldens are done one after the
other, and an embedded golden stays in a bounded memory while it may be needed; the outputs come
back in the table's order. Caching changes outputs by float noise at most (about 1e-6), because a
picture then runs in another batch; equal inputs always give equal outputs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from deft.changenet.data.pairs import PairData, ahead, normalise
from deft.changenet.embeddings import CACHE_BYTES, EmbeddingMemory, digest, join, one
from deft.changenet.model import ChangeNet
from deft.changenet.precision import Cast
from deft.changenet.views import ONE, View, tiles_of, turned

# Pixels that a CPU takes through the backbone at once. Twice as many of C-RADIOv2-B's maps took a
# tenth more time a picture: memory, not arithmetic, is what they wait for.
CPU_PIXELS = 2 * 224 * 224


@dataclass
class Loaded:
    """The pictures of some rows: digests, and each distinct picture once."""

    rows: Sequence[int]
    test: list[bytes]
    golden: list[list[bytes]]  # of each row its goldens
    pictures: dict[bytes, np.ndarray]  # uint8 (H, W, 3)


class TableScorer:
    """One network over tables; ``embedded`` counts the pictures that went through its backbone.

    ``cache_bytes`` bounds the memory for goldens on the device; 0 keeps none beyond their batch.
    ``views``: of each pair, whose mean is its output. The network must not change between calls.
    """

    def __init__(
        self,
        model: ChangeNet,
        device: torch.device,
        *,
        cast: Cast = nullcontext,
        cache_bytes: int = CACHE_BYTES,
        views: Sequence[View] = ONE,
    ) -> None:
        self.views = views
        self.model, self.device = model.eval(), device
        self._cast = cast
        self.cache = EmbeddingMemory(cache_bytes)
        self.embedded = 0

    def outputs(
        self,
        data: PairData,
        batch_size: int,
        rows: Sequence[int] | None = None,
        after_batch: Callable[[], None] | None = None,
    ) -> torch.Tensor:
        """Return the output for ``rows`` (default: all), float32 on the CPU, in that order."""
        return self.each_view(data, batch_size, rows, after_batch).mean(dim=0)

    def each_view(
        self,
        data: PairData,
        batch_size: int,
        rows: Sequence[int] | None = None,
        after_batch: Callable[[], None] | None = None,
    ) -> torch.Tensor:
        """Return the outputs (views, rows, …) as :meth:`outputs` does, before their mean."""
        wanted = list(range(len(data)) if rows is None else map(int, rows))
        places = sorted(
            range(len(wanted)), key=lambda place: (data.golden_files(wanted[place]), place)
        )
        order = [wanted[place] for place in places]
        chunks = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        found: list[torch.Tensor] = []
        workers = data.spec.dataset.classify.workers
        with torch.inference_mode():
            for loaded in ahead(lambda rows: load(data, rows), chunks, workers):
                with self._cast():
                    views = [self._compare(data, loaded, view) for view in self.views]
                    found.append(torch.stack(views).float().cpu())
                if after_batch is not None:
                    after_batch()
        joined = torch.cat(found, dim=1)
        back = torch.empty_like(joined)
        back[:, torch.tensor(places)] = joined
        return back

    def _compare(self, data: PairData, loaded: Loaded, view: View) -> torch.Tensor:
        parts = self._embed(data, loaded, view)
        test = join([parts[name] for name in loaded.test])
        # Golden-major: the first golden of every row, then the second.
        golden = join(
            [parts[name] for column in zip(*loaded.golden, strict=True) for name in column]
        )
        return self.model.model.compare(test, golden)

    def _at_once(self, data: PairData) -> int:
        """Return how many pictures go through the backbone in one batch."""
        height, width = data.spec.tensor_size
        on_cpu = self.device.type == "cpu"
        return max(1, CPU_PIXELS // (height * width)) if on_cpu else sys.maxsize

    def _embed(self, data: PairData, loaded: Loaded, view: View) -> dict[bytes, list[torch.Tensor]]:
        """Return each distinct picture's parts; those that are not kept run in batches."""
        as_seen = bytes(view)  # a turned picture is another one to the memory
        parts: dict[bytes, list[torch.Tensor]] = {}
        new = []
        for name in loaded.pictures:
            kept = self.cache.get(name + as_seen)
            if kept is None:
                new.append(name)
            else:
                parts[name] = kept
        for start in range(0, len(new), step := self._at_once(data)):
            chunk = new[start : start + step]
            pixels = np.stack([loaded.pictures[name] for name in chunk])
            seen = turned(normalise(data.spec, pixels, self.device), view, tiles_of(data.spec))
            embedding = self.model.model.embed(seen)
            self.embedded += len(chunk)
            parts |= {name: one(embedding, index) for index, name in enumerate(chunk)}
        for names in loaded.golden:
            for name in names:
                self.cache.put(name + as_seen, parts[name])
        return parts


def load(data: PairData, rows: Sequence[int]) -> Loaded:
    """Read the pictures of ``rows``; raises as :class:`PairData` does."""
    pictures: dict[bytes, np.ndarray] = {}

    def named(files: Sequence[Path], row: int) -> bytes:
        picture = data.picture(files, row)
        name = digest(picture)
        pictures[name] = picture
        return name

    test = [named(data.test_files(row), row) for row in rows]
    golden = [[named(files, row) for files in data.golden_files(row)] for row in rows]
    return Loaded(rows, test, golden, pictures)


def outputs(
    model: ChangeNet,
    data: PairData,
    batch_size: int,
    device: torch.device,
    *,
    cast: Cast = nullcontext,
    rows: Sequence[int] | None = None,
    cache_bytes: int = CACHE_BYTES,
    after_batch: Callable[[], None] | None = None,
) -> torch.Tensor:
    """Return the network's output for ``rows`` (default: all), float32 on the CPU, in that order.

    ``cast`` makes the context that it runs in; ``cache_bytes``: see :class:`TableScorer`;
    ``after_batch`` is called after each batch, and may raise.
    """
    scorer = TableScorer(model, device, cast=cast, cache_bytes=cache_bytes)
    return scorer.outputs(data, batch_size, rows, after_batch)
