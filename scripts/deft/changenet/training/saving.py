"""Which model files a training writes, and what ``weights.json`` says of each."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from string import Formatter
from typing import Any

import numpy as np

from deft.changenet.spec.native import PERIODIC
from deft.changenet.training import resume
from deft.changenet.training.checkpoint import Progress, training_entries
from deft.changenet.training.parts import Parts
from deft.changenet.training.schedule import Schedule
from deft.changenet.training.selection import TopK
from deft.changenet.weights import save_weights, weights_name
from deft.core.files import sha256_file

NUMBER = r"[-+ ]*[0-9][0-9.,_eE%+-]*"  # as a format of epoch, step or val_loss writes it
FIGURES = ("val_loss", "val_far_pct", "val_far_at_recall_pct")


def _names_of(pattern: str) -> str:
    """Return a regular expression for the names that ``train.checkpointer.filename`` gives."""
    parts = Formatter().parse(pattern)
    return "".join(re.escape(text) + (NUMBER if name else "") for text, name, _, _ in parts)


class Saver:
    """Writes model files into the resume folder and links them into the output folder.

    ``optimizer_state`` of the options: which files hold the optimizer's state, so that a training
    can go on from them: ``none``, ``last`` (the training's last file) or ``all``. It triples a
    file's size.
    """

    def __init__(self, parts: Parts, schedule: Schedule, out_dir: Path, resume_dir: Path) -> None:
        self.parts, self.spec, self.model, self.schedule = parts, parts.spec, parts.model, schedule
        self.out_dir, self.resume_dir = out_dir, resume_dir
        self.optimizer_state = parts.options.optimizer_state
        self.files: list[dict[str, Any]] = []
        self.topk = TopK(parts.spec)

    def restore(
        self, files: list[dict[str, Any]], topk: list[dict[str, Any]], say: Callable[[str], None]
    ) -> None:
        """Take over the files of an interrupted training."""
        self.files, self.topk.kept = files, list(topk)
        worst = self.topk.worst()
        # A newer epoch, which is trained again, may have dropped the worst of the best already.
        if worst and not any((f / worst["path"]).is_file() for f in self._folders()):
            say(f"{worst['path']} is gone: an epoch that is trained again had dropped it")
            self.topk.kept.remove(worst)
        digests = {f["path"]: f["sha256"] for f in self.all_files()}
        names = set(digests)
        resume.restore_files(self.resume_dir, self.out_dir, digests)
        found = {path.name for path in self.resume_dir.glob("*.pth")}
        self.remove(found - names - {resume.STATE_FILE})

    def remove(self, names: Iterable[str]) -> None:
        """Delete files of this training that no state counts on."""
        for name in names:
            for folder in self._folders():
                (folder / name).unlink(missing_ok=True)

    def remove_older(self, needed: Iterable[Path]) -> None:
        """Delete what another training left in the output folder, but for the files ``needed``.

        Model files by their names: the periodic ones, and with ``enable_topk`` those that
        ``train.checkpointer.filename`` can give.
        """
        patterns = [PERIODIC]
        if self.topk.on:
            patterns.append(_names_of(self.spec.train.checkpointer.filename))
        kept = {path.resolve() for path in needed}
        for path in self.out_dir.glob("*.pth"):
            ours = any(re.fullmatch(pattern, path.stem) for pattern in patterns)
            if ours and path.resolve() not in kept:
                path.unlink()

    def epoch_shape(self, order: np.ndarray) -> dict[str, Any]:
        """Return what says which rows the first batches of an epoch held."""
        rows = np.ascontiguousarray(order, dtype="<i8").tobytes()
        return {
            "batch_size": self.parts.batch_size,
            "processes": self.parts.world.size,
            "order": hashlib.sha256(rows).hexdigest()[:16],
        }

    def mid_epoch(self, progress: Progress, order: np.ndarray) -> None:
        """Write a file after a step if one is due (``checkpoint_interval_unit: step``)."""
        train = self.spec.train
        if train.checkpoint_interval_unit == "step" and not self._periodic_off():
            if progress.step % train.checkpoint_interval == 0:
                name = weights_name(progress.epoch, progress.step)
                progress = replace(progress, shape=self.epoch_shape(order))
                self.files.append(self._write(name, progress, None, last=False))

    def end_of_epoch(
        self, progress: Progress, validated: dict[str, Any] | None, *, last: bool
    ) -> list[str]:
        """Write what is due after an epoch: the periodic file, and one of the best.

        Returns the names that dropped out of the best, for :meth:`remove` once the resume state
        no longer counts on them.
        """
        train = self.spec.train
        count = progress.epoch + 1
        if train.checkpoint_interval_unit == "step":
            count = progress.step
        due = count % train.checkpoint_interval == 0 and not self._periodic_off()
        if due or last:
            name = weights_name(progress.epoch, progress.step)
            self.files.append(self._write(name, progress, validated, last=last))
        if validated is not None and self.topk.wants(validated):
            name = self.topk.name(progress.epoch, progress.step, validated)
            entry = self._write(name, progress, validated, last=last)
            entry["monitored"] = validated[self.topk.figure]
            return self.topk.add(entry)
        return []

    def all_files(self) -> list[dict[str, Any]]:
        """Return every file's entry, periodic ones first, each kind by epoch."""
        return [*self.files, *sorted(self.topk.kept, key=lambda f: f["epoch"])]

    def _folders(self) -> tuple[Path, Path]:
        return self.out_dir, self.resume_dir

    def _periodic_off(self) -> bool:
        options = self.spec.train.checkpointer
        return options.enable_topk and options.replace_periodic

    def _write(
        self, name: str, progress: Progress, validated: dict[str, Any] | None, *, last: bool
    ) -> dict[str, Any]:
        whole = self.optimizer_state == "all" or (self.optimizer_state == "last" and last)
        train, kept = self.spec.train, self.resume_dir / name
        size = save_weights(
            kept,
            self.model,
            epoch=progress.epoch,
            step=progress.step,
            model_type=getattr(self.model.model.backbone, "tao_model_type", None),
            training=training_entries(
                progress,
                self.parts.optimizer if whole else None,
                self.schedule,
                save_every=(train.checkpoint_interval, train.checkpoint_interval_unit),
            ),
        )
        resume.link_or_copy(kept, self.out_dir / name)
        return {
            "path": name,
            "epoch": progress.epoch,
            "step": progress.step,
            **{figure: validated[figure] if validated else None for figure in FIGURES},
            "sha256": sha256_file(kept),
            "bytes": size,
        }
