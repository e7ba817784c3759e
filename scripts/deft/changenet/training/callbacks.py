"""What happens around the steps of a training: validation, early stop, curves, status, progress."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import TensorBoardLogger

from deft.changenet.precision import Precision
from deft.changenet.training.module import TrainingModule
from deft.changenet.training.parts import Parts
from deft.changenet.training.progress import History, Log, Reporter, Seconds
from deft.changenet.training.selection import EarlyStop
from deft.changenet.training.validate import validate
from deft.core.errors import HardStop


class Validation(Callback):
    """Validates an epoch when it is due, and stops the training early.

    ``safe_point`` is called after each batch of the validation, and may raise.
    """

    def __init__(
        self, parts: Parts, precision: Precision, say: Log, safe_point: Callable[[], None]
    ) -> None:
        self.parts, self.precision, self.say, self.safe_point = parts, precision, say, safe_point
        self.early = EarlyStop(parts.options.early_stop_epochs, parts.options.select_weights_by)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: TrainingModule) -> None:
        """Note the epoch's figures in the module."""
        epoch = pl_module.loader.epoch
        pl_module.trained = pl_module.figures()
        pl_module.validated = found = self._validated(epoch)
        if found is not None:
            batches = math.ceil(len(self.parts.validation) / self.parts.batch_size)
            pl_module.validation_batches = batches
        # Decided on validated epochs alone, so that the last file always has a figure.
        if epoch + 1 == self.parts.spec.train.num_epochs or found is None:
            return
        if self.early.says_stop(epoch, found):
            trainer.should_stop, pl_module.stopped_after = True, epoch
            self.say(
                f"early stop after epoch {epoch + 1}: {self.early.judge} has not "
                f"improved since epoch {self.early.best_epoch + 1}"
            )

    def _validated(self, epoch: int) -> dict[str, Any] | None:
        """Validate when it is due. The last epoch always is: else it could not be compared."""
        parts, train = self.parts, self.parts.spec.train
        if (epoch + 1) % train.validation_interval and epoch + 1 != train.num_epochs:
            return None
        parts.processes.share_buffers(parts.model)
        found = validate(
            parts.model,
            parts.validation,
            parts.device,
            precision=self.precision,
            upstream_compat=parts.options.upstream_compat,
            min_recall=parts.options.min_recall,
            processes=parts.processes,
            after_batch=self.safe_point,
        )
        if not math.isfinite(found["val_loss"]):
            raise HardStop(
                "no_new_checkpoint",
                f"the validation loss of epoch {epoch} is {found['val_loss']}",
                file=parts.spec.source,
                fix="lower train.optim.lr",
            )
        return found


class Status(Callback):
    """Writes both curves and TAO's ``status.json`` at the end of every epoch."""

    def __init__(self, parts: Parts, history: History, out_dir: Path) -> None:
        self.parts, self.history, self.out_dir = parts, history, out_dir
        self.began = self.stepped = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: TrainingModule) -> None:
        """Start the clock, also in the middle of an epoch."""
        self.began = self.stepped = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: TrainingModule) -> None:
        """Start the epoch's clock."""
        self.began = time.monotonic()

    def on_train_batch_end(self, trainer: Trainer, pl_module: TrainingModule, *_: Any) -> None:
        """Note when the steps ended."""
        self.stepped = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: TrainingModule) -> None:
        """Append the epoch and write all three files."""
        epochs, trained = self.parts.spec.train.num_epochs, pl_module.trained
        at = {"epoch": pl_module.loader.epoch, "step": trainer.global_step}
        row = {"train_loss": trained["train_loss"], "lr": pl_module.rate}
        self.history.train.append(at | row)
        if pl_module.validated:
            names = ("val_loss", "val_far_pct", "val_recall_pct", "val_far_at_recall_pct")
            self.history.validation.append(at | {k: pl_module.validated[k] for k in names})
        progress = pl_module.progress(epoch_done=True)
        steps_each = math.ceil(len(pl_module.loader) / self.parts.options.accumulate_steps)
        seconds = Seconds(
            time.monotonic() - self.began, (self.stepped - self.began) / progress.epoch_steps
        )
        self.history.epoch_done(
            at["epoch"],
            epochs,
            at["step"],
            steps_each * epochs,
            seconds,
            {**trained, **(pl_module.validated or {})},
        )
        self.history.write(self.out_dir)


class Display(Callback):
    """Shows steps and finished epochs, and passes their figures to TensorBoard's event files."""

    def __init__(self, parts: Parts, reporter: Reporter) -> None:
        self.parts, self.reporter = parts, reporter

    def on_train_batch_end(self, trainer: Trainer, pl_module: TrainingModule, *_: Any) -> None:
        """Show a step."""
        if pl_module.stepped:
            at = pl_module.progress(epoch_done=False)
            self.reporter.step(at.epoch, at.epoch_steps)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: TrainingModule) -> None:
        """Show an epoch; figures that are None are left out."""
        epoch, trained = pl_module.loader.epoch, pl_module.trained
        self.reporter.epoch(epoch, trained["train_loss"], pl_module.validated)
        if not isinstance(trainer.logger, TensorBoardLogger):
            return
        found = {**trained, **(pl_module.validated or {}), "lr": pl_module.rate}
        names = ("train_loss", "val_loss", "val_far_pct", "val_far_at_recall_pct", "lr")
        figures = {name: found[name] for name in names if found.get(name) is not None}
        every = self.parts.spec.train.tensorboard.infrequent_logging_frequency
        if every and (epoch + 1) % every == 0:
            trained_ones = (p for p in self.parts.model.parameters() if p.requires_grad)
            norms = [p.detach().float().norm() for p in trained_ones]
            figures["parameter_norm"] = float(torch.stack(norms).norm())
        trainer.logger.log_metrics(figures, step=epoch)
        trainer.logger.experiment.flush()
