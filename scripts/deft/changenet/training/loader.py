"""The batches of each epoch, in the order that seed and epoch give, from any batch on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from deft.changenet.data.pairs import Batch, batches
from deft.changenet.data.sampling import draw_epoch, epoch_generator
from deft.changenet.training.parts import Parts


class EpochLoader:
    """What Lightning iterates over once an epoch.

    ``epoch`` (0-based) and ``done``, the batches of it that need not be made again, are set before
    the first batch is asked for; then nothing of an epoch depends on the ones before.

    Parameters
    ----------
    chances: (rows,), of each row to be drawn.
    """

    def __init__(self, parts: Parts, chances: torch.Tensor) -> None:
        self.parts, self.chances = parts, chances
        self.epoch = self.done = 0

    def __len__(self) -> int:
        """Return the batches of each process in a whole epoch."""
        return self.parts.draws // (self.parts.batch_size * self.parts.processes.size)

    def order(self, epoch: int) -> np.ndarray:
        """Return the rows (draws,) of all processes in an epoch."""
        generator = epoch_generator(self.parts.options.seed, epoch)
        return draw_epoch(self.chances, generator, self.parts.draws)

    def shape(self, epoch: int) -> dict[str, Any]:
        """Return what says which rows the first batches of an epoch hold."""
        rows = np.ascontiguousarray(self.order(epoch), dtype="<i8").tobytes()
        return {
            "batch_size": self.parts.batch_size,
            "processes": self.parts.processes.size,
            "order": hashlib.sha256(rows).hexdigest()[:16],
        }

    def labels(self, epoch: int) -> torch.Tensor:
        """Return the labels (batches, processes, B) of all processes' batches of an epoch."""
        size, processes = self.parts.batch_size, self.parts.processes.size
        rows = self.order(epoch)[: len(self) * size * processes]
        return torch.from_numpy(self.parts.data.labels[rows]).view(len(self), processes, size)

    def __iter__(self) -> Iterator[Batch]:
        parts = self.parts
        yield from batches(
            parts.data,
            self.order(self.epoch),
            parts.batch_size,
            epoch=self.epoch,
            drop_last=True,
            workers=parts.spec.dataset.classify.workers,
            device=parts.device,
            part=(parts.processes.rank, parts.processes.size),
            skip=self.done,
        )
