"""One epoch of a training: batches, gradients, steps, and the figures of what was seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch

from deft.changenet.data.pairs import Batch, batches
from deft.changenet.embeddings import training_forward
from deft.changenet.losses import loss_shares
from deft.changenet.precision import Precision
from deft.changenet.training.distributed import without_sync
from deft.changenet.training.parts import Parts
from deft.changenet.training.validate import cut_of, rates
from deft.core.errors import HardStop

AfterStep = Callable[[dict[str, int]], None]
OUTCOMES = ("losses", "scores", "labels")


class Seen:
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


class Done(NamedTuple):
    """Batches of each process, and optimizer steps, that need not be made again.

    ``seen``: :meth:`Seen.tensors` of them, where an interruption kept it.
    """

    batches: int = 0
    steps: int = 0
    seen: dict[str, torch.Tensor] | None = None


class EpochRunner:
    """Trains a network for an epoch at a time.

    ``step``, ``steps_here`` and ``batches_done`` count optimizer steps of the whole training, those
    made since it was started or resumed from a file, and batches of each process. ``seen`` is of
    the present epoch.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        spec, world, model, device = parts.spec, parts.world, parts.model, parts.device
        self.spec, self.options, self.world, self.device = spec, parts.options, world, device
        self.model, self.optimizer, self.data = model, parts.optimizer, parts.data
        self.precision = Precision(spec, device)
        self.network = world.wrapped(model, device, sync_norm=spec.train.sync_batchnorm)
        self.forward = self.network
        if world.size == 1:  # several processes average gradients in the wrapped network's forward
            self.forward = training_forward(model, augmented=self.data.augmented)
        self.step = self.steps_here = self.batches_done = 0
        self.seen = Seen()

    def run(
        self, epoch: int, order: np.ndarray, rate: float, done: Done, after_step: AfterStep
    ) -> dict[str, Any]:
        """Run one epoch of ``order`` at a rate and return its counts and figures.

        Parameters
        ----------
        order: rows (draws,) of all processes.
        rate: learning rate.
        done: what a resumed training has done of this epoch already.
        after_step: called with ``steps``, ``batches`` and ``of`` (all batches) of the epoch after
            each step.

        Returns ``train_loss``, ``train_acc``, ``train_fpr`` (percent), ``steps``, ``batches``.
        """
        size, processes = self.parts.batch_size, self.world.size
        count = len(order) // (size * processes)  # batches of each process
        only_validation_is_left = done.seen is not None and 0 < count == done.batches
        if count <= done.batches and not only_validation_is_left:
            raise self._too_few(epoch, len(order), done)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        # Class weights that every step reads: on a GPU each reading would wait for all its work.
        self.weighing = deepcopy(self.model.criterion).cpu()
        labels = self.data.labels[order[: count * size * processes]]
        labels = torch.from_numpy(labels).view(count, processes, size)
        loader = batches(
            self.data,
            order,
            size,
            epoch=epoch,
            drop_last=True,
            workers=self.spec.dataset.classify.workers,
            device=self.device,
            part=(self.world.rank, processes),
            skip=done.batches,
        )
        self.seen, steps = Seen(done.seen), done.steps
        for begin in range(done.batches, count, self.options.accumulate_steps):
            end = min(begin + self.options.accumulate_steps, count)
            self._step(loader, labels[begin:end])
            self.step, self.batches_done = self.step + 1, self.batches_done + end - begin
            self.steps_here, steps = self.steps_here + 1, steps + 1
            after_step({"steps": steps, "batches": end, "of": count})
        return {**self._figures(epoch), "steps": steps, "batches": count}

    def _step(self, loader: Iterator[Batch], labels: torch.Tensor) -> None:
        """Make one optimizer step; ``labels`` (batches, processes, B) are those of all its batches.

        Notes this process's part of the step's loss, and what it saw, on the device.
        """
        processes, rank = self.world.size, self.world.rank
        groups = list(labels.flatten(0, 1))
        shares = loss_shares(self.weighing, groups, equal=self.options.upstream_compat)
        parts = []
        self.optimizer.zero_grad(set_to_none=True)
        for i, batch in enumerate(islice(loader, len(labels))):
            share = shares[i * processes + rank]
            with without_sync(self.network, last=i + 1 == len(labels)):
                with self.precision.autocast():
                    output = self.forward(batch.test, batch.golden)
                loss = self.model.criterion(output.float(), batch.label)
                # Gradients are averaged over the processes, but the parts must be summed.
                self.precision.scaler.scale(loss * (share * processes)).backward()
            # Kept on the device: reading each number would stop a GPU at every step.
            parts.append(loss.detach() * share)
            self.seen.scores.append(self.model.score(output.detach()))
            self.seen.labels.append(batch.label)
        self.precision.scaler.step(self.optimizer)
        self.precision.scaler.update()
        self.seen.losses.append(torch.stack(parts).sum())

    def _figures(self, epoch: int) -> dict[str, Any]:
        everyone = self.world.gathered(self.seen.tensors())
        mean = float(torch.stack([part["losses"].double() for part in everyone]).sum(0).mean())
        if not math.isfinite(mean):
            raise HardStop(
                "no_new_checkpoint",
                f"the training loss of epoch {epoch} is {mean}: the network has diverged",
                file=self.spec.source,
                fix="lower train.optim.lr, or check the pictures and the initial weights",
            )
        compat = self.options.upstream_compat
        cut = cut_of(self.model, self.spec.model.classify.eval_margin, upstream_compat=compat)
        scores, labels = (
            torch.cat([part[name] for part in everyone]).numpy() for name in ("scores", "labels")
        )
        found = rates(scores, labels, cut)
        return {"train_loss": mean, "train_acc": found["acc"], "train_fpr": found["fpr"]}

    def _too_few(self, epoch: int, draws: int, done: Done) -> HardStop:
        size, processes = self.parts.batch_size, self.world.size
        whole = f"{size}" if processes == 1 else f"{processes} x {size}"
        if done.batches:
            return HardStop(
                "spec_invalid",
                "train.resume_training_checkpoint_path: the file was saved in the middle of an "
                f"epoch with other batches: {done.batches} batches of epoch {epoch} are done, but "
                f"its {draws} draws make only {draws // (size * processes)} of {whole}",
                file=self.spec.train.resume_training_checkpoint_path,
                fix="use the dataset.classify.batch_size and train.num_gpus it was saved with, or "
                "a file from an epoch's end",
            )
        return HardStop(
            "no_new_checkpoint",
            f"epoch {epoch} made no step: {draws} draws do not fill a batch of {whole}",
            file=self.spec.source,
            fix="lower dataset.classify.batch_size",
        )
