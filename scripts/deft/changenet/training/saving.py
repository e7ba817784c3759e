"""Which model files a training writes, and what ``weights.json`` says of each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from string import Formatter
from typing import Any

from pytorch_lightning import Callback, Trainer

from deft.changenet.spec.native import PERIODIC
from deft.changenet.training import resume
from deft.changenet.training.checkpoint import Progress, training_entries
from deft.changenet.training.module import TrainingModule
from deft.changenet.training.parts import Parts
from deft.changenet.training.selection import TopK
from deft.changenet.weights import save_weights, weights_name
from deft.core.files import sha256_file

NUMBER = r"[-+ ]*[0-9][0-9.,_eE%+-]*"  # as a format of epoch, step or val_loss writes it
FIGURES = ("val_loss", "val_far_pct", "val_far_at_recall_pct")


def _names_of(pattern: str) -> str:
    """Return a regular expression for the names that ``train.checkpointer.filename`` gives."""
    parts = Formatter().parse(pattern)
    return "".join(re.escape(text) + (NUMBER if name else "") for text, name, _, _ in parts)


class ModelFiles(Callback):
    """Writes model files into the resume folder and links them into the output folder.

    ``optimizer_state`` of the options: which files hold the optimizer's state, so that a training
    can go on from them: ``none``, ``last`` (the training's last file) or ``all``. It triples a
    file's size.
    """

    def __init__(self, parts: Parts, out_dir: Path, resume_dir: Path) -> None:
        self.parts, self.spec = parts, parts.spec
        self.out_dir, self.resume_dir = out_dir, resume_dir
        self.optimizer_state = parts.options.optimizer_state
        self.files: list[dict[str, Any]] = []
        self.topk = TopK(parts.spec)
        self.dropped: list[str] = []

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

    def on_train_batch_end(self, trainer: Trainer, pl_module: TrainingModule, *_: Any) -> None:
        """Write a file after a step if one is due (``checkpoint_interval_unit: step``)."""
        train, loader = self.spec.train, pl_module.loader
        if train.checkpoint_interval_unit != "step" or self._periodic_off():
            return
        at = pl_module.progress(epoch_done=False)
        # The last step's file is one of the epoch's end.
        if not pl_module.stepped or at.epoch_batches == len(loader):
            return
        if at.step % train.checkpoint_interval == 0 and self.parts.processes.writes:
            self.files.append(self._write(weights_name(at.epoch, at.step), pl_module, at))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: TrainingModule) -> None:
        """Write what is due after an epoch: the periodic file, and one of the best.

        Names that drop out of the best wait in ``dropped`` until the resume state no longer counts
        on them.
        """
        if not self.parts.processes.writes:
            return
        train, validated = self.spec.train, pl_module.validated
        at = pl_module.progress(epoch_done=True)
        count = at.step if train.checkpoint_interval_unit == "step" else at.epoch + 1
        due = count % train.checkpoint_interval == 0 and not self._periodic_off()
        last = trainer.should_stop or at.epoch + 1 == train.num_epochs
        if due or last:
            name = weights_name(at.epoch, at.step)
            self.files.append(self._write(name, pl_module, at, validated, last=last))
        if validated is not None and self.topk.wants(validated):
            name = self.topk.name(at.epoch, at.step, validated)
            entry = self._write(name, pl_module, at, validated, last=last)
            entry["monitored"] = validated[self.topk.figure]
            self.dropped = self.topk.add(entry)

    def remove_dropped(self) -> None:
        """Delete the files that are no longer among the best."""
        self.remove(self.dropped)
        self.dropped = []

    def all_files(self) -> list[dict[str, Any]]:
        """Return every file's entry, periodic ones first, each kind by epoch."""
        return [*self.files, *sorted(self.topk.kept, key=lambda f: f["epoch"])]

    def _folders(self) -> tuple[Path, Path]:
        return self.out_dir, self.resume_dir

    def _periodic_off(self) -> bool:
        options = self.spec.train.checkpointer
        return options.enable_topk and options.replace_periodic

    def _write(
        self,
        name: str,
        module: TrainingModule,
        at: Progress,
        validated: dict[str, Any] | None = None,
        *,
        last: bool = False,
    ) -> dict[str, Any]:
        whole = self.optimizer_state == "all" or (self.optimizer_state == "last" and last)
        train, kept, network = self.spec.train, self.resume_dir / name, self.parts.model
        scheduler = module.scheduler
        assert scheduler is not None  # Lightning has asked for it before the first step
        size = save_weights(
            kept,
            network,
            epoch=at.epoch,
            step=at.step,
            model_type=getattr(network.model.backbone, "tao_model_type", None),
            training=training_entries(
                at,
                self.parts.optimizer if whole else None,
                scheduler,
                save_every=(train.checkpoint_interval, train.checkpoint_interval_unit),
                shape=None if at.epoch_done else module.loader.shape(at.epoch),
            ),
        )
        resume.link_or_copy(kept, self.out_dir / name)
        return {
            "path": name,
            "epoch": at.epoch,
            "step": at.step,
            **{figure: validated[figure] if validated else None for figure in FIGURES},
            "sha256": sha256_file(kept),
            "bytes": size,
        }
