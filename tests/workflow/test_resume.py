"""The main process is killed alone in the middle of a training; the run is resumed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from tiny_workspace import make_tiny_workspace
from waiting import until
from workflow_tools import (
    CONFIG,
    RUN,
    clean_environment,
    load,
    log_entries,
    script,
    snakemake,
    snakemake_command,
    state,
    succeed,
    working_folder,
)

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

SETTINGS = {"max_iterations": 0, "training_epochs": 40}
BASE_ROWS = 60  # so that forty epochs last until the training is ended


def notes(workspace: Path) -> list[dict]:
    """Return the notes of the jobs at work."""
    folder = workspace / "results" / RUN / ".jobs"
    return [json.loads(p.read_text()) for p in sorted(folder.glob("*.json"))]


@pytest.fixture
def orphan(tmp_path: Path):
    """A workspace whose Snakemake was killed alone while it trained; its training lives on."""
    workspace = make_tiny_workspace(tmp_path / "killed", base=BASE_ROWS)
    folder = working_folder(workspace)
    with (folder / "output.txt").open("w") as output:
        main = subprocess.Popen(
            snakemake_command(workspace, config=SETTINGS),
            cwd=folder,
            env=clean_environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    weights = workspace / "results" / RUN / "baseline"
    until(lambda: list(weights.glob("train*/*epoch_00[2-9]*")), "the third epoch's weights")
    os.kill(main.pid, signal.SIGKILL)
    main.wait()
    (note,) = notes(workspace)
    yield workspace, psutil.Process(note["pid"])
    for left in notes(workspace):
        if psutil.pid_exists(left["pid"]):
            psutil.Process(left["pid"]).kill()


def test_resume_after_a_killed_main_process(orphan, tmp_path: Path) -> None:
    workspace, training = orphan
    assert training.is_running() and training.status() != psutil.STATUS_ZOMBIE
    assert not (workspace / "results" / RUN / "baseline/train/weights.json").is_file()

    # A second command does not start beside the orphan: the lock, and without it the note. The
    # orphan is held meanwhile, or it would be done before the last of these commands.
    training.suspend()
    plain = snakemake(workspace, config=SETTINGS)
    assert plain.returncode != 0 and "lock" in plain.stdout.lower()
    succeed(snakemake(workspace, config=SETTINGS, args=["--unlock"]))
    beside = snakemake(workspace, config=SETTINGS)
    assert beside.returncode != 0
    told = " ".join(beside.stdout.split())
    assert re.search(r"still being worked on by process .*make .*resume WORKSPACE=", told), told
    assert "Traceback" not in beside.stdout
    assert training.status() == psutil.STATUS_STOPPED, "the orphan is left alone"
    training.resume()

    limits = ("--cores", "2", "--max-threads", "1")
    done = script(workspace, "resume", "--workspace", ".", "--go-on", "--", *limits)
    output = succeed(done)
    assert f"ended orphan baseline_train (process {training.pid})" in output
    assert output.index("ended orphan") < output.index("workspace ")
    assert not training.is_running() or training.status() == psutil.STATUS_ZOMBIE
    assert notes(workspace) == []

    undisturbed = make_tiny_workspace(tmp_path / "undisturbed", base=BASE_ROWS)
    succeed(snakemake(undisturbed, config=SETTINGS))
    resumed, whole = (load(w, "best_model.json") for w in (workspace, undisturbed))
    for name in ("threshold", "far_pct", "checkpoint_sha256", "bounds", "iteration"):
        assert resumed[name] == whole[name], name
    kept, expected = (load(w, "baseline/train/weights.json") for w in (workspace, undisturbed))
    assert kept["files"] == expected["files"] and len(kept["files"]) == 40

    entries = log_entries(workspace)
    assert [e["seq"] for e in entries] == list(range(1, len(entries) + 1))
    assert state(workspace)["status"] == "complete"
    good = [(e["iter"], e["stage"]) for e in entries if e["status"] == "ok"]
    assert good.count(("baseline", "train")) == 1
    assert good[-1][1] == "loop_stop"
    assert not (workspace / "results" / RUN / "baseline/train_resume").exists()


def test_an_orphan_that_ended_well_is_not_trained_again(orphan) -> None:
    """Nobody was there to take note of its end, so Snakemake deletes what it declared."""
    workspace, training = orphan
    until(lambda: notes(workspace) == [], "the orphan's end", 600)
    assert (workspace / "results" / RUN / "baseline/train/weights.json").is_file()
    limits = ("--cores", "2", "--max-threads", "1")
    output = succeed(script(workspace, "resume", "--workspace", ".", "--go-on", "--", *limits))
    assert "no orphan found" in output
    log = (workspace / "results" / RUN / "baseline/train/train.log").read_text()
    assert "resuming after epoch 40/40" in log and "epoch 40/40 ·" not in log
    assert len(load(workspace, "baseline/train/weights.json")["files"]) == 40
    assert not (workspace / "results" / RUN / "baseline/train_resume").exists()


def test_resume_without_an_orphan_goes_on(tmp_path: Path) -> None:
    workspace = make_tiny_workspace(tmp_path / "workspace", base=8, validation=6, kpi=6, pool=6)
    target = f"results/{RUN}/baseline/metrics.json"
    succeed(snakemake(workspace, target, config={"max_iterations": 0, "training_epochs": 1}))
    limits = ("--cores", "2", "--max-threads", "1")
    output = succeed(script(workspace, "resume", "--workspace", ".", "--go-on", "--", *limits))
    assert "no orphan found" in output
    assert load(workspace, "best_model.json")["iteration"] == "baseline"
    assert [e["stage"] for e in log_entries(workspace)].count("train") == 1
    assert CONFIG["run"] == RUN
