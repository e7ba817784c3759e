"""The numbers of a run, from its folder."""

from __future__ import annotations

from pathlib import Path

from deft.record.lenient import load_run
from deft.record.results import collect_results


def build_results(run_dir: str | Path, workspace: str | Path) -> dict[str, float]:
    """Return the flat numbers that a run's pages may quote, sorted by key."""
    return collect_results(load_run(run_dir, workspace))
