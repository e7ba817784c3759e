"""What a training writes while it runs: curves, TAO's status lines, one line per epoch."""

from __future__ import annotations

import datetime
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from deft.files import write_text_atomic

TRAIN_COLUMNS = ("epoch", "step", "train_loss", "lr")
VALIDATION_COLUMNS = ("epoch", "step", "val_loss", "val_far_pct", "val_recall_pct")


@dataclass
class History:
    """Rows of both curves and the status lines so far; part of the resume state."""

    train: list[dict[str, Any]] = field(default_factory=list)
    validation: list[dict[str, Any]] = field(default_factory=list)
    status: list[dict[str, Any]] = field(default_factory=list)

    def write(self, out_dir: Path) -> None:
        """Write ``train_curve.csv``, ``validation_curve.csv`` and ``status.json``."""
        write_text_atomic(out_dir / "train_curve.csv", _csv(TRAIN_COLUMNS, self.train))
        write_text_atomic(
            out_dir / "validation_curve.csv", _csv(VALIDATION_COLUMNS, self.validation)
        )
        lines = "".join(json.dumps(line) + "\n" for line in self.status)
        write_text_atomic(out_dir / "status.json", lines)

    def add_status(self, status: str, message: str, kpi: dict | None = None, **head: Any) -> None:
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
        self, epoch: int, epochs: int, step: int, total_steps: int, seconds: float, kpi: dict
    ) -> None:
        """Append the lines that TAO writes at the end of an epoch (``kpi``: train and val)."""
        steps = max(1, step // (epoch + 1))
        validated = {k: v for k, v in kpi.items() if k.startswith("val_")}
        if validated:
            self.add_status("RUNNING", "Eval metrics generated.", validated)
        self.add_status(
            "RUNNING",
            "Training loop in progress",
            validated,
            epoch=epoch,
            step=step,
            max_epoch=epochs - 1,
            max_step=total_steps,
            time_per_epoch=str(datetime.timedelta(seconds=seconds)),
            time_per_step=str(datetime.timedelta(seconds=seconds / steps)),
            eta=str(datetime.timedelta(seconds=seconds * (epochs - 1 - epoch))),
        )
        trained = {k: v for k, v in kpi.items() if k.startswith("train_")}
        self.add_status("RUNNING", "Train metrics generated.", trained)


def _csv(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> str:
    lines = [",".join(columns)]
    for row in rows:
        lines.append(",".join("" if row[c] is None else repr(row[c]) for c in columns))
    return "\n".join(lines) + "\n"


class Reporter:
    """A progress bar on a terminal, one plain line per epoch anywhere else."""

    def __init__(self, epochs: int, done: int, log: Callable[[str], None] | None) -> None:
        self.epochs, self.log = epochs, log or (lambda text: print(text, flush=True))
        self.started = time.monotonic()
        self.first = done
        on_terminal = log is None and sys.stderr.isatty()
        self.bar = (
            tqdm(total=epochs, initial=done, unit="epoch", desc="train") if on_terminal else None
        )

    def epoch(self, epoch: int, train_loss: float, validation: dict | None) -> None:
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
            self.bar.update()
            return
        done = epoch + 1 - self.first
        left = (time.monotonic() - self.started) / done * (self.epochs - epoch - 1)
        self.log(f"epoch {epoch + 1}/{self.epochs} · {' · '.join(parts)} · {left:.0f} s left")

    def close(self) -> None:
        """Leave the terminal in order."""
        if self.bar is not None:
            self.bar.close()
