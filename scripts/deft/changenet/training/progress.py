"""What a training writes while it runs: curves, TAO's status lines, one line per epoch."""

from __future__ import annotations

import datetime
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from deft.core.files import write_text_atomic

TRAIN_COLUMNS = ("epoch", "step", "train_loss", "lr")
VALIDATION_COLUMNS = (
    *("epoch", "step", "val_loss", "val_far_pct", "val_recall_pct", "val_far_at_recall_pct"),
)
LINE_EVERY_S = 60.0  # in a log file, within a long epoch
# In the status log TAO's names stand first and mean what they mean there; ours come after them.
TAO_KPI = ("train_loss", "train_acc", "train_fpr", "val_loss", "val_acc", "val_fpr")
OUR_KPI = ("val_far_pct", "val_recall_pct", "val_far_at_recall_pct")
Log = Callable[[str], None]  # takes what a training says, line by line


@dataclass
class History:
    """Rows of both curves and the status lines so far; part of the resume state."""

    train: list[dict[str, Any]] = field(default_factory=list)
    validation: list[dict[str, Any]] = field(default_factory=list)
    status: list[dict[str, Any]] = field(default_factory=list)
    trained: dict[str, Any] = field(default_factory=dict)  # last figures of the training

    def write(self, out_dir: Path) -> None:
        """Write ``train_curve.csv``, ``validation_curve.csv`` and ``status.json``."""
        write_text_atomic(out_dir / "train_curve.csv", _csv(TRAIN_COLUMNS, self.train))
        write_text_atomic(
            out_dir / "validation_curve.csv", _csv(VALIDATION_COLUMNS, self.validation)
        )
        lines = "".join(json.dumps(line) + "\n" for line in self.status)
        write_text_atomic(out_dir / "status.json", lines)

    def add_status(
        self, status: str, message: str, kpi: dict[str, Any] | None = None, **head: Any
    ) -> None:
        """Append a line in the form of TAO's status log."""
        now = datetime.datetime.now()
        line = {
            **head,
            "date": f"{now.month}/{now.day}/{now.year}",
            "time": f"{now.hour}:{now.minute}:{now.second}",
            "status": status,
            "verbosity": "INFO",
            "message": message,
        }
        self.status.append(line | ({"kpi": kpi} if kpi is not None else {}))

    def epoch_done(
        self,
        epoch: int,
        epochs: int,
        step: int,
        total_steps: int,
        seconds: Seconds,
        kpi: dict[str, Any],
    ) -> None:
        """Append the lines that TAO writes at the end of an epoch (``kpi``: train and val)."""
        validated = _picked(kpi, "val_")
        if validated:
            self.add_status("RUNNING", "Eval metrics generated.", validated)
        self.add_status(
            "RUNNING",
            "Training loop in progress",
            validated or None,
            epoch=epoch,
            step=step,
            max_epoch=epochs - 1,
            max_step=total_steps,
            time_per_epoch=str(datetime.timedelta(seconds=seconds.epoch)),
            time_per_step=str(datetime.timedelta(seconds=seconds.step)),
            eta=str(datetime.timedelta(seconds=seconds.epoch * (epochs - 1 - epoch))),
        )
        self.trained = _picked(kpi, "train_")
        self.add_status("RUNNING", "Train metrics generated.", self.trained)

    def finished(self) -> None:
        """Append the lines that TAO writes at the end of a training."""
        self.add_status("RUNNING", "Training loop complete.", self.trained)
        self.add_status("SUCCESS", "Train finished successfully.", self.trained)


class Seconds(NamedTuple):
    """Seconds that an epoch took, and one of its optimizer steps (validation not included)."""

    epoch: float
    step: float


def _picked(kpi: dict[str, Any], prefix: str) -> dict[str, Any]:
    names = [n for n in (*TAO_KPI, *OUR_KPI) if n.startswith(prefix)]
    return {n: kpi[n] for n in names if kpi.get(n) is not None}


def _csv(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> str:
    lines = [",".join(columns)]
    for row in rows:
        lines.append(",".join("" if row[c] is None else repr(row[c]) for c in columns))
    return "\n".join(lines) + "\n"


class Reporter:
    """A progress bar of steps on a terminal; anywhere else a plain line per epoch.

    A long epoch gives lines in between, every ``LINE_EVERY_S``.

    Parameters
    ----------
    epochs, done: all epochs, and those that are finished.
    log: takes the lines; without it a terminal shows the bar.
    steps, made: steps of an epoch, and those already made of the present one.
    """

    def __init__(
        self,
        epochs: int,
        done: int,
        log: Log | None,
        steps: int,
        made: int = 0,
    ) -> None:
        self.epochs, self.steps = epochs, max(1, steps)
        self.log = log or (lambda text: print(text, flush=True))
        self.started = self.told = time.monotonic()
        self.first = min(done * self.steps + made, epochs * self.steps)
        on_terminal = log is None and sys.stderr.isatty()
        self.bar = (
            tqdm(total=epochs * self.steps, initial=self.first, unit="step", desc="train")
            if on_terminal
            else None
        )

    def step(self, epoch: int, steps: int) -> None:
        """Show that ``steps`` of an epoch are made."""
        made = epoch * self.steps + steps
        if self.bar is not None:
            self.bar.set_description_str(f"train, epoch {epoch + 1}/{self.epochs}", refresh=False)
            self.bar.update(made - self.bar.n)
            return
        now = time.monotonic()
        if steps < self.steps and now - self.told >= LINE_EVERY_S:
            self.told = now
            rate = (made - self.first) / (now - self.started)
            self.log(
                f"epoch {epoch + 1}/{self.epochs} · step {steps}/{self.steps} · "
                f"{rate:.2f} steps/s · {self._left(made):.0f} s left"
            )

    def epoch(self, epoch: int, train_loss: float, validation: dict[str, Any] | None) -> None:
        """Show one finished epoch."""
        parts = [f"train loss {train_loss:.4f}"]
        if validation:
            parts.append(f"val loss {validation['val_loss']:.4f}")
            if validation["val_far_pct"] is not None:
                parts.append(f"val FAR {validation['val_far_pct']:.1f}%")
            if validation["val_recall_pct"] is not None:
                parts.append(f"val recall {validation['val_recall_pct']:.1f}%")
        if self.bar is not None:
            self.bar.set_postfix_str(", ".join(parts))
            return
        self.told = time.monotonic()
        left = self._left((epoch + 1) * self.steps)
        self.log(f"epoch {epoch + 1}/{self.epochs} · {' · '.join(parts)} · {left:.0f} s left")

    def _left(self, made: int) -> float:
        """Return the seconds that the steps still to be made will take."""
        here = max(1, made - self.first)
        return (time.monotonic() - self.started) / here * (self.epochs * self.steps - made)

    def close(self) -> None:
        """Leave the terminal in order."""
        if self.bar is not None:
            self.bar.close()
