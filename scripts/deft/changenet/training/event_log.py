"""TensorBoard event files of a training, where the spec asks for them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deft.changenet.spec import Spec
from deft.core.errors import HardStop

FOLDER = "tensorboard"


def require_tensorboard(spec: Spec) -> type:
    """Return the class that writes event files, or raise HardStop ``spec_invalid``."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise HardStop(
            "spec_invalid",
            f"train.tensorboard.enabled needs a package that is not installed ({error})",
            file=spec.source,
            fix="pip install tensorboard, or set train.tensorboard.enabled: false",
        ) from None
    return SummaryWriter


class EventLog:
    """Writes ``train_loss``, ``lr``, ``val_loss`` and the FARs by epoch; does nothing when off.

    ``train.tensorboard.infrequent_logging_frequency``: every so many epochs also the length of the
    vector of all trained parameters (``parameter_norm``); 0 = never.

    Raises
    ------
    HardStop ``spec_invalid`` when the spec asks for it and the package is not installed.
    """

    def __init__(self, spec: Spec, out_dir: Path, *, fresh: bool) -> None:
        options = spec.train.tensorboard
        self.every, self.writer = options.infrequent_logging_frequency, None
        if not options.enabled:
            return
        writer = require_tensorboard(spec)
        if fresh:  # the curves of another training must not run into these
            shutil.rmtree(out_dir / FOLDER, ignore_errors=True)
        self.writer = writer(str(out_dir / FOLDER))

    def epoch(self, epoch: int, figures: dict[str, Any], model: nn.Module) -> None:
        """Write one epoch's figures; those that are None are left out."""
        if self.writer is None:
            return
        for name, value in figures.items():
            if value is not None:
                self.writer.add_scalar(name, value, epoch)
        if self.every and (epoch + 1) % self.every == 0:
            norms = [p.detach().float().norm() for p in model.parameters() if p.requires_grad]
            self.writer.add_scalar("parameter_norm", torch.stack(norms).norm(), epoch)
        self.writer.flush()

    def close(self) -> None:
        """Close the file."""
        if self.writer is not None:
            self.writer.close()
