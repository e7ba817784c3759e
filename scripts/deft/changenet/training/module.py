"""The network as Lightning trains it: a step's loss, the optimizer, and what an epoch showed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import nn

from deft.changenet.data.pairs import Batch
from deft.changenet.embeddings import training_forward
from deft.changenet.losses import loss_shares
from deft.changenet.training.checkpoint import Progress
from deft.changenet.training.loader import EpochLoader
from deft.changenet.training.parts import Parts
from deft.changenet.training.schedule import EpochRate
from deft.changenet.training.validate import cut_of, rates
from deft.core.errors import HardStop

OUTCOMES = ("losses", "scores", "labels")
PROCESS_SEED = 1_000_003  # keeps the processes' random streams apart


class EpochStats:
    """What a process saw of an epoch: a loss a step, a score and a label a pair.

    ``earlier``: the same of the steps before an interruption, on the CPU.
    """

    def __init__(self, earlier: dict[str, torch.Tensor] | None = None) -> None:
        self.losses: list[torch.Tensor] = []
        self.scores: list[torch.Tensor] = []
        self.labels: list[torch.Tensor] = []
        self.earlier = earlier

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return ``losses`` (steps,), ``scores`` (pairs,) and ``labels`` (pairs,) on the CPU."""
        found = {}
        for name in OUTCOMES:
            # One copy from the device: each reading by itself would wait for all its work.
            here = [part.reshape(-1) for part in getattr(self, name)]
            kept = [torch.cat(here).cpu()] if here else []
            before = [self.earlier[name]] if self.earlier is not None else []
            found[name] = torch.cat([*before, *kept])
        return found


class TrainingModule(LightningModule):
    """Trains ``parts.model`` with ``parts.optimizer``; its state has the network's own keys.

    ``rate`` is the present epoch's; ``validation_batches`` those of the last validation;
    ``trained`` and ``validated`` the figures of the epoch that has just ended, None without a
    validation; ``stopped_after`` the epoch of an early stop;
    ``stepped`` whether the last batch ended an optimizer step.
    """

    def __init__(self, parts: Parts, loader: EpochLoader) -> None:
        super().__init__()
        self.network, self.parts, self.loader = parts.model, parts, loader
        self.scheduler: EpochRate | None = None
        self.stats = EpochStats()
        self.rate, self.validation_batches = 0.0, 0
        self.trained: dict[str, Any] = {}
        self.validated: dict[str, Any] | None = None
        self.stopped_after: int | None = None
        self.stepped = False
        run: Callable[..., torch.Tensor] = self.network
        if parts.processes.size == 1:  # several processes want the wrapped network's own forward
            run = training_forward(self.network, augmented=parts.data.augmented)
        # Behind a function: as a module it would be registered a second time.
        self.run_network: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = (
            lambda test, golden: run(test, golden)
        )

    def state_dict(self, *_: Any, **__: Any) -> dict[str, torch.Tensor]:
        """Return the network's state, with TAO's keys."""
        return self.network.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, **_: Any) -> Any:
        """Fill the network."""
        return self.network.load_state_dict(state_dict, strict=strict)

    def configure_optimizers(self) -> dict[str, Any]:
        """Return the optimizer and the scheduler of its rate."""
        self.scheduler = EpochRate(self.parts.spec, self.parts.optimizer)
        return {"optimizer": self.parts.optimizer, "lr_scheduler": self.scheduler}

    def begin(self, epoch: int, done: int, seen: dict[str, torch.Tensor] | None) -> None:
        """Make ready for an epoch of which ``done`` batches are made (``seen``: their figures)."""
        processes = self.parts.processes
        if seen is None and processes.size > 1:
            # Each process has its own random stream, anew for every epoch.
            place = epoch * processes.size + processes.rank
            torch.manual_seed(self.parts.options.seed + PROCESS_SEED * place)
        self.loader.epoch, self.loader.done = epoch, done
        self.stats = EpochStats(seen)
        self.labels = self.loader.labels(epoch)
        self.rate = self.parts.optimizer.param_groups[0]["lr"]
        self.train()
        # Class weights that every step reads: on a GPU each reading would wait for all its work.
        self.weighing: nn.Module = deepcopy(self.network.criterion).cpu()

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Return this batch's part of the loss of its optimizer step; note what it showed."""
        parts, accumulate = self.parts, self.parts.options.accumulate_steps
        place = batch_idx % accumulate
        if place == 0:
            group = list(self.labels[batch_idx : batch_idx + accumulate].flatten(0, 1))
            self.shares = loss_shares(self.weighing, group, equal=parts.options.upstream_compat)
            self.step_losses: list[torch.Tensor] = []
        output = self.run_network(batch.test, batch.golden)
        with torch.autocast(parts.device.type, enabled=False):
            loss = self.network.criterion(output.float(), batch.label)
        share = self.shares[place * parts.processes.size + parts.processes.rank]
        # Kept on the device: reading each number would stop a GPU at every step.
        self.step_losses.append(loss.detach() * share)
        self.stats.scores.append(self.network.score(output.detach()))
        self.stats.labels.append(batch.label)
        self.stepped = batch_idx + 1 == len(self.labels) or place + 1 == accumulate
        if self.stepped:
            self.stats.losses.append(torch.stack(self.step_losses).sum())
        # Gradients are averaged over the processes, but the parts must be summed; and Lightning
        # divides by the accumulated batches: in float64, or a third of three thirds is not one.
        return loss.double() * (share * parts.processes.size * accumulate)

    def progress(self, *, epoch_done: bool) -> Progress:
        """Return how far the training is, after a batch of this epoch or at its end."""
        fit = self.trainer.fit_loop
        loop = fit.epoch_loop
        total: Any = loop.batch_progress.total  # they count what is processed, which
        current: Any = loop.batch_progress.current  # Lightning declares for a base class alone
        return Progress(
            epoch=self.loader.epoch,
            step=self.trainer.global_step,
            batches=total.processed,
            epoch_steps=loop.automatic_optimization.optim_progress.optimizer.step.current.completed,
            epoch_batches=current.processed,
            epoch_done=epoch_done,
            validation_batches=self.validation_batches,
        )

    def figures(self) -> dict[str, float]:
        """Return ``train_loss``, ``train_acc`` and ``train_fpr`` (percent) of all processes.

        Raises
        ------
        HardStop ``no_new_checkpoint`` when the loss is not finite.
        """
        parts, epoch = self.parts, self.loader.epoch
        everyone = parts.processes.gathered(self.stats.tensors())
        mean = float(torch.stack([part["losses"].double() for part in everyone]).sum(0).mean())
        if not math.isfinite(mean):
            raise HardStop(
                "no_new_checkpoint",
                f"the training loss of epoch {epoch} is {mean}: the network has diverged",
                file=parts.spec.source,
                fix="lower train.optim.lr, or check the pictures and the initial weights",
            )
        compat, margin = parts.options.upstream_compat, parts.spec.model.classify.eval_margin
        cut = cut_of(self.network, margin, upstream_compat=compat)
        scores, labels = (
            torch.cat([part[name] for part in everyone]).numpy() for name in ("scores", "labels")
        )
        found = rates(scores, labels, cut)
        return {"train_loss": mean, "train_acc": found["acc"], "train_fpr": found["fpr"]}
