"""One training as a process of its own, to be ended by a signal: JOB.json names everything."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from deft.changenet.spec import from_dict
from deft.changenet.training.options import Options
from deft.changenet.training.train import train
from deft.core.interrupt import Interrupted


def run(job: dict) -> dict:
    """Train as the job says; ``deterministic`` asks torch for the same on a GPU as on a CPU.

    Raises ``Interrupted`` after a signal, with the state saved.
    """
    if job["deterministic"]:
        always_deterministic()
    return train(
        from_dict(job["spec"], source=job["source"]),
        workspace=job["workspace"],
        out_dir=job["out"],
        resume_dir=job["resume"],
        options=Options(**job["options"]),
        log=lambda text: print(text, flush=True),
    )


def always_deterministic() -> None:
    """Have every later choice of algorithms be for deterministic ones; what has none is told."""
    choose = torch.use_deterministic_algorithms
    torch.use_deterministic_algorithms = lambda *_, **__: choose(True, warn_only=True)


if __name__ == "__main__":
    try:
        run(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    except Interrupted as stop:
        print(stop.text(), flush=True)
        sys.exit(stop.status)
