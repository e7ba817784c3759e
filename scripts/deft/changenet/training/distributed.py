"""Several processes training one network: one per GPU (NCCL), or on a CPU for tests (gloo).

Every process holds the whole network and the same order of rows; of each global batch it loads its
own part. Losses, scores and validation outputs are gathered, so that all processes take the same
decisions without asking each other. Process 0 writes the files.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from deft.changenet.training.sync_norm import synchronise_batch_norm

TIMEOUT = datetime.timedelta(minutes=30)  # a process that waits longer for another gives up


@dataclass(frozen=True)
class World:
    """This process's number (``rank``, from 0) among ``size``.

    ``control``: the group that decisions and states are exchanged in, over the network and never
    through a GPU, which would have to finish its queued work first.
    """

    rank: int = 0
    size: int = 1
    control: Any = None

    @property
    def writes(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def gathered(self, value: Any) -> list[Any]:
        """Return every process's ``value``, by rank; tensors must be on the CPU."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value, group=self.control)
        return found

    def highest(self, value: int) -> int:
        """Return the largest ``value`` of all processes: one's wish becomes everyone's."""
        if self.size == 1:
            return value
        found = torch.tensor([value])
        dist.all_reduce(found, dist.ReduceOp.MAX, group=self.control)
        return int(found)

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.size > 1:
            dist.barrier()

    def wrapped(self, model: nn.Module, device: torch.device, *, sync_norm: bool) -> nn.Module:
        """Return what trains: ``model``, averaging its gradients over the processes."""
        if self.size == 1:
            return model
        if sync_norm:
            synchronise_batch_norm(model, device)
        return DistributedDataParallel(
            model,
            device_ids=[device.index] if device.type == "cuda" else None,
            # Some difference modules may be switched off by the spec: they get no gradient.
            find_unused_parameters=True,
        )

    def share_buffers(self, model: nn.Module) -> None:
        """Give every process the running statistics of process 0."""
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)


def without_sync(network: nn.Module, last: bool) -> AbstractContextManager:
    """Return a context that keeps gradients local until the ``last`` batch of a step."""
    if isinstance(network, DistributedDataParallel) and not last:
        return network.no_sync()
    return nullcontext()


def launched() -> bool:
    """Whether torchrun started this process as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ and "RANK" in os.environ


@contextmanager
def joined(devices: list[torch.device]) -> Iterator[tuple[World, torch.device]]:
    """Join the processes that torchrun started; alone, be a world of one.

    Yields the world and this process's device, one of ``devices``.
    """
    device = devices[int(os.environ["LOCAL_RANK"]) if launched() else 0]
    if device.type == "cuda":
        torch.cuda.set_device(device)  # else work without a named device goes to the first GPU
    if not launched():
        yield World(), device
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    control = dist.new_group(backend="gloo", timeout=TIMEOUT) if device.type == "cuda" else None
    yield World(dist.get_rank(), dist.get_world_size(), control), device
    # Only after a good end: leaving in order would wait for processes that wait for this one.
    dist.destroy_process_group()
