"""The page of a run that works: what it says, when it is written, that nothing hangs on it."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
from fake_run import FakeRun

from deft.core.layout import Run
from deft.record.lenient import load_run
from deft.record.results import collect_results
from deft.report import live
from deft.report.check import check_text
from deft.report.render import render_pages


def test_a_run_that_has_ended_shows_nothing_live(finished: FakeRun) -> None:
    assert live.live_view(load_run(finished.dir, finished.workspace)) is None
    page = render_pages(finished.dir, finished.workspace)[0][0].read_text()
    assert 'id="live"' not in page


@pytest.fixture
def working(built: dict[str, FakeRun], tmp_path: Path) -> FakeRun:
    """A run in the middle, whose training has just said where it is."""
    shutil.copytree(built["running"].workspace, tmp_path / "w")
    run = FakeRun(tmp_path / "w")
    note = run.dir / ".jobs" / "iter1_train.json"
    note.parent.mkdir(exist_ok=True)
    note.write_text("{}")
    logs = run.dir / "logs"
    logs.mkdir(exist_ok=True)
    (logs / "iter1_train.log").write_text("epoch 2/9\nepoch 3/9 · train loss 0.1 · 40 s left\n\n")
    return run


def test_the_page_says_stage_progress_and_since_when(working: FakeRun) -> None:
    pages, problems = render_pages(working.dir, working.workspace)
    page = pages[0].read_text()
    assert problems == []
    assert "iter1 · train, for " in page and "epoch 3/9 · train loss 0.1 · 40 s left" in page
    assert 'http-equiv="refresh"' in page and "Not written since" in page
    seen = load_run(working.dir, working.workspace)
    assert check_text(page, collect_results(seen)) == []


def test_time_left_is_that_of_the_laps_before() -> None:
    log = [
        {"stage": s, "status": "ok", "duration_sec": d}
        for s, d in (("train", 100), ("train", 300), ("inference", 20), ("evaluate", 5), ("rca", 1))
    ]
    at = {"phase": "iter2", "stage": "train", "seconds": 150.0}
    assert live._left(log, [at]) == live.short_duration(50 + 25)
    assert live._left(log, [{**at, "seconds": 900.0}]) == live.short_duration(25)
    assert live._left([], [at]) == "" and live._left(log, []) == ""


def turns(number: int):
    """Return a `wanted` that says yes so many times."""
    left = iter([True] * number)
    return lambda: next(left, False)


@pytest.fixture
def run(tmp_path, monkeypatch) -> Run:
    monkeypatch.setattr(live, "POLL_S", 0.0)
    monkeypatch.setattr(live, "EVERY_S", 1e9)
    monkeypatch.setattr(live, "PAUSE", 0)
    run = Run(tmp_path, "run_a")
    (run.dir / ".jobs").mkdir(parents=True)
    return run


def test_a_page_for_each_stage_and_none_before_the_run(run: Run) -> None:
    made = []
    live.watch(run, lambda still: made.append(still()), turns(3))
    assert made == []
    (run.dir / "loop_log.jsonl").write_text("{}\n")
    live.watch(run, lambda still: made.append(still()), turns(3))
    assert made == [True]


@pytest.mark.parametrize(("stage", "holds"), [("rca", True), ("loop_stop", False)])
def test_a_page_never_replaces_that_of_the_end(run: Run, stage: str, holds: bool) -> None:
    log = run.dir / "loop_log.jsonl"
    log.write_text("{}\n")
    answers = []

    def render(still) -> None:
        with log.open("a") as handle:
            handle.write(json.dumps({"stage": stage}) + "\n")
        answers.append(still())

    live.watch(run, render, turns(1))
    assert answers == [holds]


def test_a_failure_to_render_is_nobodys(run: Run) -> None:
    (run.dir / "loop_log.jsonl").write_text("{}\n")
    tried = []

    def render(still) -> None:
        tried.append(time.monotonic())
        raise OSError("no space left")

    live.watch(run, render, turns(4))
    assert len(tried) == 1


def test_an_old_page_is_not_written(finished: FakeRun) -> None:
    assert render_pages(finished.dir, finished.workspace, still=lambda: False) == ([], [])


def test_notes_and_logs_that_are_odd_do_no_harm(working: FakeRun) -> None:
    (working.dir / ".jobs" / "odd.json").write_text("")
    (working.dir / "logs" / "zero.log").write_bytes(b"\xff\xfe\x00")
    view = live.live_view(load_run(working.dir, working.workspace))
    assert view is not None and json.dumps(view)
