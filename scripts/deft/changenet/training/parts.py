"""What one training is made of."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from deft.changenet.data.pairs import PairData
from deft.changenet.model import ChangeNet
from deft.changenet.spec import Spec
from deft.changenet.training.distributed import DistributedContext
from deft.changenet.training.options import Options


@dataclass(frozen=True)
class Parts:
    """The network is on ``device``; its parameters are the optimizer's.

    ``devices``: of all processes, by rank.
    """

    spec: Spec
    options: Options
    processes: DistributedContext
    device: torch.device
    model: ChangeNet
    optimizer: torch.optim.Optimizer
    data: PairData
    validation: PairData
    devices: tuple[torch.device, ...] = (torch.device("cpu"),)

    @property
    def batch_size(self) -> int:
        """Pairs of a batch, in each process."""
        return self.spec.dataset.classify.batch_size

    @property
    def draws(self) -> int:
        """Rows that all processes together draw for an epoch."""
        found = self.options.draws_per_epoch or len(self.data)
        if self.options.upstream_compat and not self.spec.train.use_distributed_sampler:
            found *= self.processes.size  # there every process draws a whole epoch of its own
        return found
