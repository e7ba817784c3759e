"""The jobs that log a run to MLflow: there where it is asked for, and never a reason for others."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from workflow_tools import NOTHING, RUN, changes, snakemake, succeed, tree


def planned(text: str) -> dict[str, int]:
    """Job counts of a dry run."""
    return {name: int(n) for name, n in re.findall(r"^(\w+) +(\d+)$", text, re.MULTILINE)}


def test_a_finished_run_is_logged_by_jobs_of_its_own(workspace: Path) -> None:
    plain = succeed(snakemake(workspace, args=["-n"]))
    assert NOTHING in plain
    asked = {"mlflow_uri": f"sqlite:///{workspace}/ml.db"}
    found = planned(succeed(snakemake(workspace, args=["-n"], config=asked)))
    laps = len(list((workspace / "results" / RUN).glob("*/report.html")))
    assert found.pop("mlflow_phase") == laps > 1 and found.pop("mlflow_run") == 1
    assert set(found) <= {"all", "total"}, "a training run for a tracker's sake?"


@pytest.mark.slow
def test_without_an_address_it_is_one_stop_before_anything_runs(fresh: Path) -> None:
    before = tree(fresh)
    done = snakemake(fresh, "mlflow")
    assert done.returncode == 1
    assert "HARD STOP config_invalid: mlflow_uri is not set" in done.stdout
    assert "--config mlflow_uri=ADDRESS" in done.stdout
    assert changes(before, tree(fresh)) == {}


def test_snakemake_mlflow_logs_it_once(workspace: Path) -> None:
    pytest.importorskip("mlflow", reason="MLflow is not installed (docs/mlflow.md)")
    asked = {"mlflow_uri": f"sqlite:///{workspace}/ml.db"}
    first = succeed(snakemake(workspace, "mlflow", config=asked))
    assert f"MLflow: {RUN} is run" in first
    (workspace / "results" / RUN / "mlflow.json").unlink()
    again = succeed(snakemake(workspace, "mlflow", config=asked))
    assert "new there: 0 numbers, 0 parameters" in again
    shutil.rmtree(workspace / "mlruns")
