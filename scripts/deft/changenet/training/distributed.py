"""Several processes training one network: one per GPU (NCCL), or on a CPU for tests (gloo).

Every process holds the whole network and the same order of rows; of each global batch it loads its
own part. Losses, scores and validation outputs are gathered, so that all processes take the same
decisions without asking each other. Process 0 writes the files.
"""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

TIMEOUT = datetime.timedelta(minutes=30)  # a process that waits longer for another gives up


def launched() -> bool:
    """Whether torchrun started this process as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ and "RANK" in os.environ


@cache
def _control() -> Any:
    """Return the group that decisions and states are exchanged in, None for the default one.

    Over the network and never through a GPU, which would have to finish its queued work first.
    """
    return dist.new_group(backend="gloo", timeout=TIMEOUT) if dist.get_backend() == "nccl" else None


@dataclass(frozen=True)
class DistributedContext:
    """This process's number (``rank``, from 0) among ``size``.

    The methods work once Lightning's trainer has joined the processes, and alone at any time.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def of_this_process(cls) -> DistributedContext:
        """Return what torchrun's environment says, alone without it."""
        if not launched():
            return cls()
        return cls(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))

    @property
    def writes(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def gathered(self, value: Any) -> list[Any]:
        """Return every process's ``value``, by rank; tensors must be on the CPU."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value, group=_control())
        return found

    def highest(self, value: int) -> int:
        """Return the largest ``value`` of all processes: one's wish becomes everyone's."""
        if self.size == 1:
            return value
        found = torch.tensor([value])
        dist.all_reduce(found, dist.ReduceOp.MAX, group=_control())
        return int(found)

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.size > 1:
            dist.barrier(group=_control())

    def share_buffers(self, model: nn.Module) -> None:
        """Give every process the running statistics of process 0."""
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)
