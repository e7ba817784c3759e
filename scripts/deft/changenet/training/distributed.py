"""Several processes training one network: one per GPU (NCCL), or on a CPU for tests (gloo).

Every process holds the whole network and the same order of rows; of each global batch it loads its
own part. Losses, scores and validation outputs are gathered, so that all processes take the same
decisions without asking each other. Process 0 writes the files.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

TIMEOUT = datetime.timedelta(minutes=30)  # a process that waits longer for another gives up


@cache
def _control() -> Any:
    """Return the group that decisions and states are exchanged in, None for the default one.

    Over the network and never through a GPU, which would have to finish its queued work first.
    """
    return dist.new_group(backend="gloo", timeout=TIMEOUT) if dist.get_backend() == "nccl" else None


@dataclass(frozen=True)
class DistributedContext:
    """This process's number (``rank``, from 0) among ``size``."""

    rank: int = 0
    size: int = 1

    @property
    def writes(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def own_device(self, devices: Sequence[torch.device]) -> torch.device:
        """Return this process's device, one of ``devices`` by rank, and make it the default one."""
        device = devices[self.rank]
        if device.type == "cuda":
            torch.cuda.set_device(device)  # else work without a named device goes to the first GPU
        return device

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
