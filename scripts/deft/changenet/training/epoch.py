"""One epoch of a training: batches, gradients, steps, and the figures of what was seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch

from deft.changenet.data.pairs import Batch, PairData, batches
from deft.changenet.embeddings import training_forward
from deft.changenet.losses import loss_shares
from deft.changenet.model import ChangeNet
from deft.changenet.precision import Precision
from deft.changenet.spec import Spec
from deft.changenet.training.distributed import World, without_sync
from deft.changenet.training.options import Options
from deft.changenet.training.validate import cut_of, rates
from deft.errors import HardStop

AfterStep = Callable[[dict[str, int]], None]


class Done(NamedTuple):
    """Batches of each process, and optimizer steps, that need not be made again."""

    batches: int = 0
    steps: int = 0


class EpochRunner:
    """Trains a network for an epoch at a time.

    ``step``, ``steps_here`` and ``batches_done`` count optimizer steps of the whole training, those
    made since it was started or resumed from a file, and batches of each process.
    """

    def __init__(
        self,
        spec: Spec,
        options: Options,
        world: World,
        device: torch.device,
        model: ChangeNet,
        optimizer: torch.optim.Optimizer,
        data: PairData,
    ) -> None:
        self.spec, self.options, self.world, self.device = spec, options, world, device
        self.model, self.optimizer, self.data = model, optimizer, data
        self.precision = Precision(spec, device)
        self.network = world.wrapped(model, device, sync_norm=spec.train.sync_batchnorm)
        self.forward = self.network
        if world.size == 1:  # several processes average gradients in the wrapped network's forward
            self.forward = training_forward(model, augmented=data.augmented)
        self.batch_size = spec.dataset.classify.batch_size
        self.step = self.steps_here = self.batches_done = 0

    def run(
        self, epoch: int, order: np.ndarray, rate: float, done: Done, after_step: AfterStep
    ) -> dict[str, Any]:
        """Run one epoch of ``order`` at a rate and return its counts and figures.

        Parameters
        ----------
        order: rows (draws,) of all processes.
        rate: learning rate.
        done: what a resumed training has done of this epoch already.
        after_step: called with ``steps`` and ``batches`` of the epoch after each step but its last.

        Returns ``train_loss``, ``train_acc``, ``train_fpr`` (percent), ``steps``, ``batches``.
        """
        size, processes = self.batch_size, self.world.size
        count = len(order) // (size * processes)  # batches of each process
        if count <= done.batches:
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
        losses, scores, seen = [], [], []
        for begin in range(done.batches, count, self.options.accumulate_steps):
            end = min(begin + self.options.accumulate_steps, count)
            losses.append(self._step(loader, labels[begin:end], scores, seen))
            self.step, self.batches_done = self.step + 1, self.batches_done + end - begin
            self.steps_here += 1
            if end < count:
                after_step({"steps": done.steps + len(losses), "batches": end})
        figures = self._figures(epoch, losses, scores, seen)
        return {**figures, "steps": done.steps + len(losses), "batches": count}

    def _step(
        self, loader: Iterator[Batch], labels: torch.Tensor, scores: list, seen: list
    ) -> torch.Tensor:
        """Make one optimizer step; ``labels`` (batches, processes, B) are those of all its batches.

        Returns this process's part of the step's loss, on the device.
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
            scores.append(self.model.score(output.detach()))
            seen.append(batch.label)
        self.precision.scaler.step(self.optimizer)
        self.precision.scaler.update()
        return torch.stack(parts).sum()

    def _figures(self, epoch: int, losses: list, scores: list, seen: list) -> dict[str, Any]:
        own = (torch.stack(losses).cpu(), torch.cat(scores).cpu(), torch.cat(seen).cpu()[:, 0])
        everyone = self.world.gathered(own)
        mean = float(torch.stack([part[0].double() for part in everyone]).sum(0).mean())
        if not math.isfinite(mean):
            raise HardStop(
                "no_new_checkpoint",
                f"the training loss of epoch {epoch} is {mean}: the network has diverged",
                file=self.spec.source,
                fix="lower train.optim.lr, or check the pictures and the initial weights",
            )
        compat = self.options.upstream_compat
        cut = cut_of(self.model, self.spec.model.classify.eval_margin, upstream_compat=compat)
        found = rates(*(torch.cat([part[i] for part in everyone]).numpy() for i in (1, 2)), cut)
        return {"train_loss": mean, "train_acc": found["acc"], "train_fpr": found["fpr"]}

    def _too_few(self, epoch: int, draws: int, done: Done) -> HardStop:
        size, processes = self.batch_size, self.world.size
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
