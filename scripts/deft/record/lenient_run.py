"""Read the files of a run for rendering: what is absent or broken is logged and left out."""

from __future__ import annotations

from pathlib import Path

from deft.record import run_files
from deft.record.lenient import Lenient
from deft.record.run_files import POOL_STOP, PhaseFiles, RunFiles, training_spec

__all__ = ["POOL_STOP", "PhaseFiles", "RunFiles", "load_run", "training_spec"]


def load_run(run_dir: str | Path, workspace: str | Path) -> RunFiles:
    """Read ``<workspace>/results/<run>``; nothing raises because a file is damaged."""
    return run_files.load_run(run_dir, workspace, Lenient())
