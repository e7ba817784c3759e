"""Training a ChangeNet natively: reproducible on a CPU, resumable, with TAO's files."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deft.changenet import resume
from deft.changenet.data import (
    PairData,
    batches,
    draw_epoch,
    epoch_generator,
    open_pairs,
    training_weights,
)
from deft.changenet.device import pick_device, reproducible
from deft.changenet.images import PictureCache
from deft.changenet.model import ChangeNet, build_model
from deft.changenet.progress import History, Reporter
from deft.changenet.schedule import learning_rate, make_optimizer
from deft.changenet.spec import Spec, dump_spec
from deft.changenet.validate import autocast, cut_of, rates, validate
from deft.changenet.weights import load_weights, save_weights, weights_name
from deft.errors import HardStop
from deft.files import sha256_file, write_json_atomic

VERSION = 1  # of the training's logic; raise it when equal inputs give other numbers
Log = Callable[[str], None]


def train(
    spec: Spec,
    *,
    workspace: str | Path,
    out_dir: str | Path,
    resume_dir: str | Path,
    device: str = "cpu",
    seed: int = 0,
    threads: int = 1,
    upstream_compat: bool = False,
    initial_weights: str | Path | None = None,
    phase: str | None = None,
    draws_per_epoch: int | None = None,
    log: Log | None = None,
) -> dict[str, Any]:
    """Train as the spec says and return what ``weights.json`` holds.

    Parameters
    ----------
    spec: gives tables, network, schedule; its relative paths start at ``workspace``.
    out_dir: gets model files, ``weights.json``, ``experiment.yaml``, ``status.json`` and curves.
    resume_dir: state of an unfinished training; removed at the end. A state of this very training
        is continued and ends in the same numbers (on a CPU: the same bytes).
    device: ``cpu``, ``cuda``, ``cuda:1`` or ``auto``.
    seed: of initial numbers, order and augmentation.
    threads: CPU threads; on a CPU another number may change the last digits.
    upstream_compat: TAO's broadcast contrastive loss and batch-wise validation loss.
    initial_weights: model file to start from (default: ``train.pretrained_model_path``).
    phase: named in ``weights.json``.
    draws_per_epoch: samples drawn an epoch; None = as many as the table has rows.
    log: takes one line per epoch; without it a terminal shows a bar, a file plain lines.

    Raises
    ------
    HardStop ``csv_invalid``, ``image_invalid``, ``missing_input``, ``spec_invalid``, and
    ``no_new_checkpoint`` when the loss is not finite or nothing was trained.
    """
    workspace, out_dir, resume_dir = Path(workspace), Path(out_dir), Path(resume_dir)
    start = initial_weights or spec.train.pretrained_model_path or None
    start = workspace / start if start else None
    with reproducible(spec, pick_device(device), threads) as target:
        data, validation = _open(spec, workspace, seed)
        chances = training_weights(data)
        torch.manual_seed(seed)
        model = build_model(spec, upstream_compat=upstream_compat, load_pretrained=start is None)
        if start is not None:
            load_weights(model, start)
        # Channels-last makes convolutions about 1.5 times as fast on a CPU.
        model.to(target, memory_format=torch.channels_last)
        run = _Run(spec, model, target, data, validation, upstream_compat, out_dir, resume_dir)
        run.identity = {
            "version": VERSION,
            "spec": spec.digest,
            "tables": [sha256_file(data.csv_path), sha256_file(validation.csv_path)],
            "initial_weights": sha256_file(start) if start else None,
            "seed": seed,
            "upstream_compat": upstream_compat,
            "draws_per_epoch": draws_per_epoch,
        }
        run.draws = draws_per_epoch or len(data)
        run.loop(chances, seed, log)
    out_dir.mkdir(parents=True, exist_ok=True)
    dump_spec(spec, out_dir / "experiment.yaml")
    result = _result(run, phase, seed, start, workspace)
    write_json_atomic(out_dir / "weights.json", result)
    resume.clear_resume(resume_dir)
    return result


def _open(spec: Spec, workspace: Path, seed: int) -> tuple[PairData, PairData]:
    cache = PictureCache()
    found = []
    for name in ("train_dataset", "validation_dataset"):
        source = getattr(spec.dataset.classify, name)
        if not source.csv_path:
            raise HardStop(
                "spec_invalid", f"dataset.classify.{name}.csv_path is empty", file=spec.source
            )
        found.append(
            open_pairs(
                spec,
                workspace / source.csv_path,
                workspace / source.images_dir,
                cache=cache,
                training=name == "train_dataset",
                seed=seed,
            )
        )
    return found[0], found[1]


class _Run:
    """One training's moving parts; ``loop`` is the training."""

    def __init__(self, spec, model, device, data, validation, upstream_compat, out_dir, resume_dir):
        self.spec: Spec = spec
        self.model: ChangeNet = model
        self.device: torch.device = device
        self.data: PairData = data
        self.validation: PairData = validation
        self.upstream_compat: bool = upstream_compat
        self.out_dir: Path = out_dir
        self.resume_dir: Path = resume_dir
        self.identity: dict[str, Any] = {}
        self.optimizer = make_optimizer(spec, model)
        self.history = History()
        self.files: list[dict[str, Any]] = []
        self.step = 0
        self.batch_size = spec.dataset.classify.batch_size
        self.draws = len(data)

    def loop(self, chances: torch.Tensor, seed: int, log: Log | None) -> None:
        """Train from the first unfinished epoch to the last."""
        epochs = self.spec.train.num_epochs
        say = log or (lambda text: print(text, flush=True))
        first = self._resume(say)
        reporter = Reporter(epochs, first, log)
        try:
            for epoch in range(first, epochs):
                began = time.monotonic()
                order = draw_epoch(chances, epoch_generator(seed, epoch), self.draws)
                trained = self._epoch(epoch, order)
                validated = self._validated(epoch)
                self._save(epoch, validated)
                self._note(epoch, trained, validated, time.monotonic() - began)
                reporter.epoch(epoch, trained["train_loss"], validated)
        finally:
            reporter.close()
        if self.step == 0 or not self.files:
            raise HardStop("no_new_checkpoint", "the training made no step", file=self.out_dir)
        self.history.add_status("SUCCESS", "Train finished successfully.")
        self.history.write(self.out_dir)

    def _resume(self, say: Log) -> int:
        state = resume.load_resume(self.resume_dir, self.identity, say)
        if state is None:
            self.history.add_status("STARTED", "Starting Training Loop.")
            return 0
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.files = state["step"], state["files"]
        self.history = History(**state["history"])
        resume.restore_files(self.resume_dir, self.out_dir, [f["path"] for f in self.files])
        resume.restore_rng(state)
        done = state["epochs_done"]
        say(f"resuming after epoch {done}/{self.spec.train.num_epochs}, step {self.step}")
        self.history.add_status("RUNNING", f"Resuming training after epoch {done - 1}.")
        return done

    def _epoch(self, epoch: int, order: np.ndarray) -> dict[str, Any]:
        """Run one epoch; return ``train_loss`` and rates."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.spec, epoch)
        self.model.train()
        losses, scores, labels = [], [], []
        for batch in batches(
            self.data,
            order,
            self.batch_size,
            epoch=epoch,
            drop_last=True,
            workers=self.spec.dataset.classify.workers,
        ):
            test, golden, label = (t.to(self.device, non_blocking=True) for t in batch)
            with autocast(self.device, self.spec.bfloat16):
                output = self.model(test, golden)
            loss = self.model.criterion(output.float(), label)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            self.step += 1
            # Kept on the device: reading each number would stop a GPU at every step.
            losses.append(loss.detach())
            scores.append(self.model.score(output.detach()))
            labels.append(batch.label)
        if not losses:
            raise HardStop(
                "no_new_checkpoint",
                f"epoch {epoch} made no step: {len(order)} draws do not fill a batch of "
                f"{self.batch_size}",
                file=self.spec.source,
                fix="lower dataset.classify.batch_size",
            )
        mean = float(torch.stack(losses).double().mean())
        if not math.isfinite(mean):
            raise HardStop(
                "no_new_checkpoint",
                f"the training loss of epoch {epoch} is {mean}: the network has diverged",
                file=self.spec.source,
                fix="lower train.optim.lr, or check the pictures and the initial weights",
            )
        margin = cut_of(self.model, self.spec.model.classify.eval_margin)
        found = rates(torch.cat(scores).cpu().numpy(), torch.cat(labels).numpy()[:, 0], margin)
        return {"train_loss": mean, "train_acc": found["acc"], "train_fpr": found["fpr"]}

    def _validated(self, epoch: int) -> dict[str, Any] | None:
        """Validate when it is due. The last epoch always is: else it could not be compared."""
        train = self.spec.train
        if (epoch + 1) % train.validation_interval and epoch + 1 != train.num_epochs:
            return None
        found = validate(
            self.model,
            self.validation,
            self.device,
            bfloat16=self.spec.bfloat16,
            upstream_compat=self.upstream_compat,
        )
        if not math.isfinite(found["val_loss"]):
            raise HardStop(
                "no_new_checkpoint",
                f"the validation loss of epoch {epoch} is {found['val_loss']}",
                file=self.spec.source,
                fix="lower train.optim.lr",
            )
        return found

    def _save(self, epoch: int, validated: dict[str, Any] | None) -> None:
        train = self.spec.train
        if (epoch + 1) % train.checkpoint_interval and epoch + 1 != train.num_epochs:
            return
        name = weights_name(epoch, self.step)
        kept = self.resume_dir / name
        size = save_weights(
            kept,
            self.model,
            epoch=epoch,
            step=self.step,
            model_type=getattr(self.model.model.backbone, "tao_model_type", None),
        )
        resume.link_or_copy(kept, self.out_dir / name)
        self.files.append(
            {
                "path": name,
                "epoch": epoch,
                "step": self.step,
                "val_loss": validated["val_loss"] if validated else None,
                "val_far_pct": validated["val_far_pct"] if validated else None,
                "sha256": sha256_file(kept),
                "bytes": size,
            }
        )

    def _note(self, epoch: int, trained: dict, validated: dict | None, seconds: float) -> None:
        """Write curves and status, then the resume state: the epoch is finished."""
        train, per_epoch = self.spec.train, self.draws // self.batch_size
        at = {"epoch": epoch, "step": self.step}
        rate = learning_rate(self.spec, epoch)
        self.history.train.append({**at, "train_loss": trained["train_loss"], "lr": rate})
        kpi = dict(trained)
        if validated:
            self.history.validation.append(
                at | {k: validated[k] for k in ("val_loss", "val_far_pct", "val_recall_pct")}
            )
            kpi |= {k: validated[k] for k in ("val_loss", "val_acc", "val_fpr")}
        total = per_epoch * train.num_epochs
        self.history.epoch_done(epoch, train.num_epochs, self.step, total, seconds, kpi)
        self.history.write(self.out_dir)
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epochs_done": epoch + 1,
            "step": self.step,
            "files": self.files,
            "history": asdict(self.history),
        }
        resume.save_resume(self.resume_dir, self.identity, state)


def _result(
    run: _Run, phase: str | None, seed: int, start: Path | None, workspace: Path
) -> dict[str, Any]:
    judged = [f for f in run.files if f["val_loss"] is not None]
    best = min(judged, key=lambda f: (f["val_loss"], -f["epoch"]))  # tie: the later epoch
    origin = None
    if start is not None:
        resolved, root = start.resolve(), workspace.resolve()
        inside = root in resolved.parents
        shown = resolved.relative_to(root) if inside else resolved
        origin = {"path": shown.as_posix(), "sha256": run.identity["initial_weights"]}
    return {
        "schema_version": 1,
        "phase": phase,
        "files": run.files,
        "best_val": best["path"],
        "latest": run.files[-1]["path"],
        "steps": run.step,
        "epochs": run.spec.train.num_epochs,
        "rows": len(run.data),
        "validation_rows": len(run.validation),
        "initialised_from": origin,
        "spec_sha256": run.spec.digest,
        "seed": seed,
    }
