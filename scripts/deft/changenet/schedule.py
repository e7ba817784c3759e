"""Optimizer and learning rate of a training, as TAO makes them."""

from __future__ import annotations

from typing import Any

import torch

from deft.changenet.model import ChangeNet
from deft.changenet.spec import Spec


def learning_rate(spec: Spec, epoch: int) -> float:
    """Return the rate of 0-based ``epoch``: constant inside an epoch."""
    optim, epochs = spec.train.optim, spec.train.num_epochs
    if optim.policy == "linear":
        return optim.lr * (1.0 - epoch / (epochs + 1))
    return optim.lr * 0.1 ** (epoch // max(1, epochs // 3))


def make_optimizer(spec: Spec, model: ChangeNet) -> torch.optim.Optimizer:
    """Return the optimizer over all parameters in one group, as TAO makes it."""
    optim = spec.train.optim
    common: dict[str, Any] = {"lr": optim.lr, "weight_decay": optim.weight_decay}
    if optim.optim == "sgd":
        return torch.optim.SGD(model.parameters(), momentum=optim.momentum, **common)
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[optim.optim]
    return kind(model.parameters(), **common)
