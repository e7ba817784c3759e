"""Optimizer and learning rate of a training, as TAO makes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from deft.changenet.model import ChangeNet
from deft.changenet.spec import Spec

STEP_GAMMA = 0.1


def learning_rate(spec: Spec, epoch: int, base: float | None = None) -> float:
    """Return the rate of 0-based ``epoch``: constant inside an epoch.

    ``linear``: ``base * (1 - epoch / (num_epochs + 1))``; ``step``: a tenth of it after every
    ``num_epochs // 3`` epochs. ``base`` is ``train.optim.lr`` unless given.
    """
    optim, epochs = spec.train.optim, spec.train.num_epochs
    base = optim.lr if base is None else base
    if optim.policy == "linear":
        return base * (1.0 - epoch / (epochs + 1))
    return base * STEP_GAMMA ** (epoch // _step_size(spec))


def _step_size(spec: Spec) -> int:
    return max(1, spec.train.num_epochs // 3)  # TAO divides by zero below 3 epochs


@dataclass(frozen=True)
class Schedule:
    """The rate of every epoch of one training.

    A resumed training keeps the rate that its file holds for the first epoch (``first``), even if
    ``num_epochs`` has changed; the formula applies from the next, on the file's base rate.
    """

    spec: Spec
    base: float
    first: int = -1  # resumed epoch, 0-based; -1 = started anew
    kept: float = 0.0  # rate of the resumed epoch

    def rate(self, epoch: int) -> float:
        """Return the rate of 0-based ``epoch``."""
        if epoch == self.first:
            return self.kept
        return learning_rate(self.spec, epoch, self.base)

    def state(self, epoch: int) -> dict[str, Any]:
        """Return torch's scheduler state at the beginning of ``epoch``, keys in its order."""
        common = {
            "base_lrs": [self.base],
            "last_epoch": epoch,
            "verbose": False,
            "_step_count": epoch + 1,
            "_get_lr_called_within_step": False,
            "_last_lr": [self.rate(epoch)],
        }
        if self.spec.train.optim.policy == "linear":
            return {**common, "lr_lambdas": [None]}
        return {"step_size": _step_size(self.spec), "gamma": STEP_GAMMA, **common}


def make_optimizer(spec: Spec, model: ChangeNet) -> torch.optim.Optimizer:
    """Return the optimizer over all parameters in one group, as TAO makes it."""
    optim = spec.train.optim
    common: dict[str, Any] = {"lr": optim.lr, "weight_decay": optim.weight_decay}
    if optim.optim == "sgd":
        return torch.optim.SGD(model.parameters(), momentum=optim.momentum, **common)
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[optim.optim]
    return kind(model.parameters(), **common)
