"""The terminal of a whole command: brief, the stop last, the report named."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import zipfile
from pathlib import Path

import pytest
from tiny_workspace import make_tiny_workspace
from workflow_tools import (
    RUN,
    clean_environment,
    snakemake,
    snakemake_command,
    succeed,
    tree,
    working_folder,
)

pytestmark = [pytest.mark.workflow, pytest.mark.long]

LINES = 60  # after the pre-flight, of a loop with two laps
SNAKEMAKES = re.compile(r"^(Job \d|Finished|Select|Execute|Building|\[\w{3} \w{3} |rule |Complete)")


def test_a_loop_prints_its_stages(finished: Path) -> None:
    output = json.loads((finished.parent / "finished.json").read_text())["output"]
    lines = output.splitlines()
    begun = next(i for i, line in enumerate(lines) if line.startswith("[preflight · preflight]"))
    after = lines[begun + 1 :]
    assert len(after) <= LINES
    assert [line for line in lines if SNAKEMAKES.match(line)] == []
    for stage in ("train", "inference", "evaluate", "rca", "routing", "data_mining", "data_merge"):
        assert any(f"· {stage}] " in line for line in after), stage
    told = f"report: {finished}/results/{RUN}/DEFT_Loop_Report.html"
    assert after[-1] == told and after.count(told) == 1


def test_the_report_is_named_once(workspace: Path) -> None:
    output = succeed(snakemake(workspace, "report"))
    assert output.count("/DEFT_Loop_Report.html") == 1


def test_a_hard_stop_is_the_last_thing(fresh: Path) -> None:
    done = snakemake(fresh, config={"approve": "false"})
    assert done.returncode == 1
    last = done.stdout.rstrip().splitlines()[-3:]
    assert last[0].startswith("HARD STOP approval_missing: ") and last[2].startswith("  do: ")
    assert done.stdout.count("HARD STOP") == 1


def test_verbose_brings_snakemakes_lines_back(finished: Path) -> None:
    told = succeed(snakemake(finished, args=["-n", "--verbose"]))
    assert "Building DAG of jobs" in told
    assert "Building DAG of jobs" not in succeed(snakemake(finished, args=["-n"]))


def test_the_live_report_changes_no_result_and_plans_no_work(fresh: Path) -> None:
    """A process beside Snakemake writes one page that nobody declares."""
    target = f"results/{RUN}/baseline/metrics.json"
    page = fresh / "results" / RUN / "DEFT_Loop_Report.html"
    succeed(snakemake(fresh, target, config={"live_report": "true"}))
    made = tree(fresh / "results" / RUN / "baseline")
    assert 'id="live"' in page.read_text() and "The run has not ended" in page.read_text()
    assert [p.name for p in page.parent.iterdir() if ".tmp" in p.name] == []
    assert "Nothing to be done" in succeed(snakemake(fresh, target, args=["-n"]))
    page.unlink()
    assert "Nothing to be done" in succeed(snakemake(fresh, target, args=["-n"]))
    assert tree(fresh / "results" / RUN / "baseline") == made


def test_a_phases_page_is_made_before_the_next_training(finished: Path) -> None:
    """And says what its root-cause analysis found."""
    run = finished / "results" / RUN
    page, weights = run / "baseline/report.html", run / "iter1/train/weights.json"
    assert page.stat().st_mtime < weights.stat().st_mtime
    assert 'id="rca"' in page.read_text() or "Weak samples" in page.read_text()


def test_snakemakes_own_report_has_pages_plots_and_tables(finished: Path, tmp_path: Path) -> None:
    target = tmp_path / "run.zip"
    succeed(snakemake(finished, args=["--report", str(target)]))
    with zipfile.ZipFile(target) as archive:
        names = [Path(name).name for name in archive.namelist()]
    assert names.count("report.html") >= 1
    for name in ("confusion_matrix_recall_100.png", "threshold_metrics.csv", "knn_summary.csv"):
        assert name in names, name


def test_a_reader_that_leaves_ends_the_command_and_hangs_none(tmp_path):
    """``snakemake … | head -1``: the end of a job was told to nobody, and waited for ever."""
    workspace = make_tiny_workspace(tmp_path / "w", base=6, validation=6, kpi=6, pool=6, pregen=2)
    (workspace / "kpi" / "testing_set.csv").unlink()  # a failed job has most to say
    typed = shlex.join(snakemake_command(workspace, "preflight"))
    done = subprocess.run(
        ["bash", "-c", f"{typed} 2>&1 | head -1"],
        cwd=working_folder(workspace), env=clean_environment(),
        timeout=240, capture_output=True, text=True,
    )  # fmt: skip
    assert len(done.stdout.splitlines()) == 1
