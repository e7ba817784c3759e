"""The summary's estimate of a duration: reckoned from an earlier run, or said to be unknown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deft.preflight.runtime import estimate
from deft.run.state import log_stage

NOW = "run_b"
SAME: dict[str, Any] = {"engine": "native", "training_epochs": 10, "max_iterations": 2}
ROWS = {"base": {"rows": 100}, "kpi": {"rows": 50}}


def ran(workspace: Path, name: str = "run_a", *, laps: int = 1, **parameters: Any) -> None:
    run = workspace / "results" / name
    (run / "preflight").mkdir(parents=True)
    told = [{"name": k, "value": v} for k, v in {**SAME, **parameters}.items()]
    checks = {"parameters": told, "dataset": ROWS}
    (run / "preflight/checks.json").write_text(json.dumps(checks))
    for number in range(laps + 1):
        phase = f"iter{number}" if number else "baseline"
        for stage, seconds in (("train", 600), ("inference", 60), ("evaluate", 20)):
            log_stage(run, phase, stage, "done", duration_s=seconds)


def told(workspace: Path, rows: dict[str, Any] = ROWS, **parameters: Any) -> str:
    given = [{"name": k, "value": v} for k, v in {**SAME, **parameters}.items()]
    return estimate(workspace, workspace / "results" / NOW, given, rows)


def test_it_is_reckoned_from_an_earlier_run(tmp_path: Path) -> None:
    ran(tmp_path)
    assert told(tmp_path) == "about 34m, if no lap meets the target (from run_a)"
    # baseline and two laps: 3 * (2 * 600 + 60 + 20) s with twice the epochs
    assert told(tmp_path, training_epochs=20).startswith("about 1h04m")
    more = {"base": {"rows": 200}, "kpi": {"rows": 100}}
    assert told(tmp_path, more).startswith("about 1h07m")
    assert told(tmp_path, max_iterations=0).startswith("about 11m")


@pytest.mark.parametrize(
    ("laps", "parameters", "why"),
    [
        (0, {}, "no earlier run of this workspace has an evaluated lap"),
        (1, {"engine": "tao"}, "run_a had another engine (tao)"),
    ],
)
def test_it_says_why_it_is_unknown(
    tmp_path: Path, laps: int, parameters: dict[str, Any], why: str
) -> None:
    assert told(tmp_path).startswith("unknown: no earlier run")
    ran(tmp_path, laps=laps, **parameters)
    assert told(tmp_path) == f"unknown: {why}"


def test_damaged_runs_and_itself_are_passed_over(tmp_path: Path) -> None:
    ran(tmp_path)
    ran(tmp_path, NOW)
    ran(tmp_path, "run_c")
    (tmp_path / "results/run_c/preflight/checks.json").write_text("[")
    assert "(from run_a)" in told(tmp_path)
