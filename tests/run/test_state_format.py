"""The state in NVIDIA's words: what this project's earlier versions wrote is carried over."""

from __future__ import annotations

import json
from pathlib import Path

from deft.core.layout import Run
from deft.run import roots
from deft.run.handover import given_weights
from deft.run.state import STATE_FILE, log_stage, read_state, update_phase, update_state

RUN = "run_20260101_000000"
KPI = "FAR < 10% at recall=100%"
STOP = {"code": "leakage", "message": "m", "phase": "iter1", "stage": "data_mining"}
# As version 0.11 of this project wrote it.
EARLIER = {
    "version": 2,
    "started_at": "2026-01-31T12:00:00Z",
    "status": "running",
    "kpi_target": {"far_max_pct": 10.0, "min_recall": 1.0, "strict": True, "sentence": KPI},
    "max_iterations": 2,
    "current_iteration": 1,
    "config": {"pregen": True},
    "iterations": {
        "baseline": {"status": "completed", "stage_completed": "rca", "best_ckpt_path": "/w/b.pth"},
        "iter1": {"status": "running", "stage_completed": "train"},
    },
    "baseline_trained_here": True,
    "moved_from": ["/was/here"],
    "hard_stop": STOP,
    "from_outside": {"kept": True},
}


def earlier(tmp_path: Path, **more: object) -> Run:
    run = Run(tmp_path, RUN)
    run.dir.mkdir(parents=True)
    state = {**EARLIER, "results_dir": str(run.dir), **more}
    (run.dir / STATE_FILE).write_text(json.dumps(state))
    return run


def test_an_earlier_state_is_read_in_the_present_words(tmp_path: Path) -> None:
    state = read_state(earlier(tmp_path).dir)
    assert state["kpi_target"] == KPI
    assert state["status"] == "in_progress"
    assert [entry["status"] for entry in state["iterations"].values()] == [
        "complete",
        "in_progress",
    ]
    assert state["native"] == {
        "started_here": True,
        "baseline_trained_here": True,
        "moved_from": ["/was/here"],
        "hard_stop": STOP,
    }
    assert set(state) == {*EARLIER, "results_dir", "native"} - {
        "baseline_trained_here",
        "moved_from",
        "hard_stop",
    }


def test_it_is_written_so_by_the_first_change_and_then_stays(tmp_path: Path) -> None:
    run = earlier(tmp_path)
    update_phase(run.dir, "iter1", stage_completed="inference")
    on_disk = json.loads((run.dir / STATE_FILE).read_text())
    assert "hard_stop" not in on_disk and on_disk["native"]["hard_stop"] == STOP
    assert on_disk["from_outside"] == {"kept": True}
    assert read_state(run.dir) == on_disk
    update_state(run.dir, lambda state: None)
    assert json.loads((run.dir / STATE_FILE).read_text()) == on_disk


def test_a_baseline_that_an_earlier_version_trained_is_nobodys_gift(tmp_path: Path) -> None:
    entry = {"stage_completed": "train", "best_ckpt_path": "/w/b.pth"}
    assert given_weights(earlier(tmp_path, iterations={"baseline": entry}).dir, tmp_path) is None
    given = earlier(tmp_path / "b", iterations={"baseline": entry}, baseline_trained_here=False)
    assert given_weights(given.dir, tmp_path / "b") == Path("/w/b.pth")


def test_what_is_ours_moves_with_the_workspace(tmp_path: Path) -> None:
    stop = {**STOP, "file": f"/old/results/{RUN}/a.csv"}
    run = earlier(tmp_path, results_dir=f"/old/results/{RUN}", hard_stop=stop)
    ours = read_state(run.dir)["native"]
    assert ours["hard_stop"]["file"] == str(run.dir / "a.csv")
    assert ours[roots.MOVED_FROM] == ["/was/here", "/old"]


def test_a_stage_lasted_whole_seconds(tmp_path: Path) -> None:
    entry = log_stage(tmp_path, "iter1", "train", "done", duration_s=12.7)
    assert entry["duration_sec"] == 13 and type(entry["duration_sec"]) is int
