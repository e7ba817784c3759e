"""Batches as the training gets them: on the device the same bits as on the CPU."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import torch

from deft.changenet.data.pairs import PairData, batches, normalise, open_pairs
from gpu_check.bench import Bench
from gpu_check.result import Result, failed, judged

BATCH, ROUNDS = 16, 30


def loader(bench: Bench) -> Iterator[Result]:
    """Compare augmented batches made by 0 and by several threads, here and on the device."""
    table, _, images = bench.tables()
    data = open_pairs(bench.spec(), table, images, training=True, seed=3)
    order = np.random.default_rng(0).integers(0, len(data), 8 * BATCH)
    want = _digests(data, order, 0, torch.device("cpu"))
    got = _digests(data, order, bench.pick(8, 2), bench.device)
    different = sum(a != b for a, b in zip(want, got, strict=True))
    figures = {"batches": len(want), "batches_that_differ": different, "pairs": len(order)}
    yield judged("loader", figures, {"batches_that_differ": 0})
    yield _pinned(bench, data)


def _digests(data: PairData, order: np.ndarray, workers: int, device: torch.device) -> list[str]:
    found = []
    for batch in batches(data, order, BATCH, epoch=1, workers=workers, device=device):
        whole = hashlib.sha256()
        for part in batch:
            whole.update(part.cpu().contiguous().numpy().tobytes())
        found.append(whole.hexdigest())
    return found


def _pinned(bench: Bench, data: PairData) -> Result:
    """Overwrite each batch's bytes as soon as its copy to the device is queued."""
    if not bench.cuda:
        pinned = "not used on a CPU"
    else:
        pinned = torch.zeros(1).pin_memory().is_pinned()
        if not pinned:
            return failed("pinned memory", "pin_memory gives memory that is not pinned")
    rng = np.random.default_rng(1)
    held = np.empty((64, 224, 224, 3), np.uint8)
    broken = 0
    for _ in range(bench.pick(ROUNDS, 3)):
        held[...] = rng.integers(0, 256, held.shape, np.uint8)
        kept = held.copy()
        there = normalise(data.spec, held, bench.device)
        if bench.cuda:
            held[...] = 0
        broken += not torch.equal(there.cpu(), normalise(data.spec, kept))
    figures = {"pinned": pinned, "rounds_that_differ": broken}
    return judged("pinned memory", figures, {"rounds_that_differ": 0})
