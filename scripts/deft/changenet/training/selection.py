"""Which weights of a training count: the best, those worth keeping, and when to stop early.

Two judges: ``val_loss``, and ``val_far``, the FAR at the required recall on the validation table
(the KPI's own measure). Lower is better for both; a tie goes to the later epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deft.changenet.spec import Spec
from deft.changenet.spec.native import MONITORS
from deft.core.errors import HardStop
from deft.kpi.operating_point import at_recall, sweep

JUDGES = {"val_loss": ("val_loss",), "val_far": ("val_far_at_recall_pct", "val_loss")}


def far_at_recall(scores: np.ndarray, is_ng: np.ndarray, min_recall: float) -> float | None:
    """Return the FAR in percent at the operating point that reaches ``min_recall`` (0 to 1).

    The point is chosen as the KPI analysis does. None without good or without defective rows.
    """
    if is_ng.all() or not is_ng.any():
        return None
    return at_recall(sweep(scores, is_ng), min_recall)["far_pct"]


def _rank(entry: Mapping[str, Any], judge: str) -> tuple[float, ...]:
    return tuple(entry[name] for name in JUDGES[judge])


def judged(files: list[dict[str, Any]], judge: str) -> list[dict[str, Any]]:
    """Return the files that were validated (and have the judge's figure)."""
    return [f for f in files if all(f.get(name) is not None for name in JUDGES[judge])]


def best_file(files: list[dict[str, Any]], judge: str) -> dict[str, Any] | None:
    """Return the best validated file; among equals the later epoch, None when none is judged."""
    return min(judged(files, judge), key=lambda f: (_rank(f, judge), -f["epoch"]), default=None)


def need_both_classes(labels: np.ndarray, judge: str, table: Any) -> None:
    """Raise ``csv_invalid`` when the judge cannot judge on this validation table."""
    if judge == "val_far" and (labels.all() or not labels.any()):
        found = "defective" if labels.all() else "good"
        raise HardStop(
            "csv_invalid",
            f"select_weights_by: val_far needs both classes, but the validation table has only "
            f"{found} parts",
            file=table,
            fix="add the other class, or set select_weights_by: val_loss",
        )


@dataclass
class EarlyStop:
    """Ends a training after ``patience`` epochs without a strictly better validation.

    Never before the first validation; epochs without one count as no improvement.
    """

    patience: int | None
    judge: str = "val_loss"
    best: tuple[float, ...] | None = field(default=None, init=False)
    best_epoch: int = field(default=-1, init=False)

    def says_stop(self, epoch: int, validated: Mapping[str, Any] | None) -> bool:
        """Take note of an epoch and return whether to stop after it."""
        if validated is not None:
            found = _rank(validated, self.judge)
            if self.best is None or found < self.best:
                self.best, self.best_epoch = found, epoch
        if self.patience is None or self.best is None:
            return False
        return epoch - self.best_epoch >= self.patience


@dataclass
class TopK:
    """``train.checkpointer`` with ``enable_topk``: the best files by a validation figure.

    ``kept``: entries of the files that are on the disk, in the order of their epochs.
    """

    spec: Spec
    kept: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        options = self.spec.train.checkpointer
        # A monitor without a figure of ours is refused with enable_topk, see the native spec.
        self.on, self.figure = options.enable_topk, MONITORS.get(options.monitor, "")
        self.sign = 1.0 if options.mode == "min" else -1.0

    def wants(self, validated: Mapping[str, Any] | None) -> bool:
        """Whether this validation belongs to the ``save_top_k`` best."""
        if not self.on or validated is None or validated.get(self.figure) is None:
            return False
        if len(self.kept) < self.spec.train.checkpointer.save_top_k:
            return True
        return self.sign * validated[self.figure] <= self.sign * self._worst()["monitored"]

    def name(self, epoch: int, step: int, validated: Mapping[str, Any]) -> str:
        """Return the file's name, from ``train.checkpointer.filename``."""
        parts = {"epoch": epoch, "step": step, "val_loss": validated["val_loss"]}
        return self.spec.train.checkpointer.filename.format(**parts) + ".pth"

    def add(self, entry: dict[str, Any]) -> list[str]:
        """Note a written file; return the names of those that drop out."""
        self.kept.append(entry)
        dropped = []
        while len(self.kept) > self.spec.train.checkpointer.save_top_k:
            worst = self._worst()
            self.kept.remove(worst)
            dropped.append(worst["path"])
        return dropped

    def worst(self) -> dict[str, Any] | None:
        """Return the entry that the next better file drops; None as long as none has to go."""
        full = self.kept and len(self.kept) >= self.spec.train.checkpointer.save_top_k
        return self._worst() if full else None

    def _worst(self) -> dict[str, Any]:
        return max(self.kept, key=lambda f: (self.sign * f["monitored"], -f["epoch"]))
