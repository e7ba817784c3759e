"""What TAO's ``status.json`` says of a training: one JSON object a line, appended as it goes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deft.core.reading import lines_of, parse_json, read_bytes

VALIDATED = "Eval metrics generated."
FAILURE = "FAILURE"


@dataclass
class Epoch:
    """An epoch (from 0) as the status log tells it; figures that it does not have are None."""

    epoch: int
    step: int | None = None
    train_loss: float | None = None
    val_loss: float | None = None


@dataclass
class Status:
    """A status log: its epochs by number, and TAO's word of a failure if there is one."""

    epochs: dict[int, Epoch] = field(default_factory=dict)
    failure: str | None = None

    def ordered(self) -> list[Epoch]:
        """Return the epochs in order."""
        return [self.epochs[n] for n in sorted(self.epochs)]


def read_status(path: str | Path) -> Status:
    """Read a status log; a line that is not whole (a killed training's last) is passed over.

    TAO repeats the last validation's figures in later lines, so an epoch counts as validated only
    if a validation was told since the epoch before it. A resumed training writes an epoch again:
    the last word counts.
    """
    found, pending, last = Status(), None, None
    for line in _lines(Path(path)):
        told = line.get("kpi")
        kpi = told if isinstance(told, dict) else {}
        if line.get("status") == FAILURE:
            found.failure = str(line.get("message") or "no message")
        if line.get("message") == VALIDATED:
            pending = _number(kpi.get("val_loss"))
        elif isinstance(line.get("epoch"), int):
            step = line.get("step")
            last = Epoch(line["epoch"], step if isinstance(step, int) else None, val_loss=pending)
            found.epochs[last.epoch] = last
            pending = None
        elif last is not None and "train_loss" in kpi and last.train_loss is None:
            last.train_loss = _number(kpi["train_loss"])
    return found


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    out = []
    for text in lines_of(read_bytes(path).decode("utf-8", "replace")):
        try:
            line = parse_json(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            out.append(line)
    return out
