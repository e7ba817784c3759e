"""Optimizer and learning rate of a training, as TAO makes them."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler

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


def scheduler_state(spec: Spec, epoch: int, base: float, rate: float) -> dict[str, Any]:
    """Return the state, at the beginning of 0-based ``epoch``, of the scheduler that TAO has.

    Keys are those of torch's ``LambdaLR`` or ``StepLR``, in its order; ``rate``: of ``epoch``.
    """
    common = {
        "base_lrs": [base],
        "last_epoch": epoch,
        "verbose": False,
        "_step_count": epoch + 1,
        "_get_lr_called_within_step": False,
        "_last_lr": [rate],
    }
    if spec.train.optim.policy == "linear":
        return {**common, "lr_lambdas": [None]}
    return {"step_size": _step_size(spec), "gamma": STEP_GAMMA, **common}


class EpochRate(LRScheduler):
    """:func:`learning_rate` as a scheduler that is stepped when the batches of an epoch are done.

    A resumed training keeps the rate that its file holds for the first epoch, even if
    ``num_epochs`` has changed; the formula applies from the next, on the file's base rate.
    """

    def __init__(self, spec: Spec, optimizer: torch.optim.Optimizer) -> None:
        self.spec = spec
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        """Return the present epoch's rate of each group."""
        return [learning_rate(self.spec, self.last_epoch, float(base)) for base in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """Return :func:`scheduler_state`."""
        base, rate = float(self.base_lrs[0]), float(self._last_lr[0])
        return scheduler_state(self.spec, self.last_epoch, base, rate)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned."""
        for name in ("base_lrs", "last_epoch", "_step_count", "_last_lr"):
            setattr(self, name, state_dict[name])


def make_optimizer(spec: Spec, model: ChangeNet) -> torch.optim.Optimizer:
    """Return the optimizer over all parameters in one group, as TAO makes it."""
    optim = spec.train.optim
    common: dict[str, Any] = {"lr": optim.lr, "weight_decay": optim.weight_decay}
    if optim.optim == "sgd":
        return torch.optim.SGD(model.parameters(), momentum=optim.momentum, **common)
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[optim.optim]
    return kind(model.parameters(), **common)
