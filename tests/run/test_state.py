"""State and log: whole writes, sequence without gaps, unknown keys, cut lines, hard stops."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from deft.core.durations import short_duration
from deft.core.errors import HardStop
from deft.run import jobs
from deft.run.stage import run_stage, status_line
from deft.run.state import LOG_FILE, STATE_FILE, log_stage, read_log, read_state, update_phase


def _append(arguments):
    run_dir, number = arguments
    log_stage(run_dir, f"iter{number}", "train", f"job {number}")


def test_jobs_that_end_at_once_share_no_sequence_number(tmp_path):
    with ProcessPoolExecutor(4) as pool:
        list(pool.map(_append, [(tmp_path, n) for n in range(1, 25)]))
    log = read_log(tmp_path)
    assert [e["seq"] for e in log] == list(range(1, 25))
    assert {e["iter"] for e in log} == {f"iter{n}" for n in range(1, 25)}
    assert set(log[0]) == {
        "seq", "ts", "iter", "stage", "status", "summary", "duration_sec", "context_tokens",
    }  # fmt: skip


def test_a_line_cut_off_by_a_crash_is_dropped_and_leaves_no_gap(tmp_path):
    log_stage(tmp_path, "baseline", "train", "done")
    with (tmp_path / LOG_FILE).open("a") as handle:
        handle.write('{"seq": 2, "ts": "20')
    log_stage(tmp_path, "baseline", "inference", "done")
    assert [e["seq"] for e in read_log(tmp_path)] == [1, 2]
    assert all(json.loads(x) for x in (tmp_path / LOG_FILE).read_text().splitlines())


def test_unknown_top_level_keys_of_a_preseeded_state_survive(tmp_path):
    (tmp_path / STATE_FILE).write_text('{"automl_winner": {"id": 7}}')
    update_phase(tmp_path, "iter2", far_pct=1.5)
    state = read_state(tmp_path)
    assert state["automl_winner"] == {"id": 7}
    assert state["version"] == 2 and state["current_iteration"] == 2
    assert state["iterations"]["iter2"]["far_pct"] == 1.5
    assert state["iterations"]["iter2"]["threshold"] is None


def test_fields_that_the_contract_does_not_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match="far_percent"):
        update_phase(tmp_path, "iter1", far_percent=1)
    with pytest.raises(ValueError, match="unknown stage"):
        log_stage(tmp_path, "iter1", "training", "x")


def test_a_hard_stop_is_logged_once_and_raised_again_on_a_second_attempt(tmp_path):
    calls = []

    def work():
        calls.append(1)
        raise HardStop("leakage", "row 3 is in both", file="pool.csv", row=3)

    with pytest.raises(HardStop):
        run_stage(tmp_path, "iter1", "data_mining", work, attempt=1)
    with pytest.raises(HardStop) as again:
        run_stage(tmp_path, "iter1", "data_mining", work, attempt=2)
    assert again.value.code == "leakage" and again.value.rows == [3]
    assert len(calls) == 1
    assert [e["status"] for e in read_log(tmp_path)] == ["error"]
    assert read_state(tmp_path)["native"]["hard_stop"]["code"] == "leakage"
    run_stage(tmp_path, "iter1", "data_mining", lambda: "mended", attempt=1)
    assert [e["status"] for e in read_log(tmp_path)] == ["error", "ok"]


def test_a_stage_does_not_start_beside_its_living_twin(tmp_path):
    from deft.run.jobs import AlreadyRunning, end_orphans, orphans

    code = (
        "import sys, time; sys.path.insert(0, sys.argv[2])\n"
        "from deft.run.jobs import registered\n"
        "with registered(sys.argv[1], 'iter1', 'train'):\n"
        "    print('up', flush=True); time.sleep(60)\n"
    )
    scripts = str(Path(__file__).parents[2] / "scripts")
    twin = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), scripts], stdout=subprocess.PIPE, text=True
    )
    try:
        assert twin.stdout.readline().strip() == "up"
        with pytest.raises(AlreadyRunning, match="make resume"):
            run_stage(tmp_path, "iter1", "train", lambda: "never")
        assert len(orphans(tmp_path)) == 1
        assert "ended orphan" in end_orphans(tmp_path)[0]
        run_stage(tmp_path, "iter1", "train", lambda: "now")
    finally:
        twin.kill()
        twin.wait()


def test_a_process_that_no_signal_ends_is_told_of(tmp_path, monkeypatch):
    """One that waits in the kernel for a disk; without a limit `make resume` would hang with it."""
    sent = []
    monkeypatch.setattr(jobs, "KILL_WAIT_S", 0.1)
    monkeypatch.setattr(jobs, "_signal", lambda note, number: sent.append(number))
    with jobs.registered(tmp_path, "iter1", "train"):
        with pytest.raises(jobs.AlreadyRunning, match="does not end, not even by SIGKILL"):
            jobs.end_orphans(tmp_path, grace_s=0.1)
        assert sent == [signal.SIGTERM, signal.SIGKILL]
        assert len(jobs.orphans(tmp_path)) == 1


def test_what_a_stage_prints_appears_at_once():
    """In a pipe or a file too: `tail -f` of a log, Snakemake, SLURM's output."""
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from deft.run.stage import main\n"
        "def body():\n    print('half way'); time.sleep(60)\n"
        "main(body)\n"
    )
    scripts = str(Path(__file__).parents[2] / "scripts")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    begun = time.monotonic()
    stage = subprocess.Popen(
        [sys.executable, "-c", code, scripts], stdout=subprocess.PIPE, env=environment, text=True
    )
    try:
        assert stage.stdout.readline() == "half way\n" and time.monotonic() - begun < 50
    finally:
        stage.kill()
        stage.wait()


def test_status_line_and_durations():
    line = status_line("iter2", "evaluate", "FAR 12.40% → 8.10%", 125, "rca", 3)
    assert line == "[iter 2/3 · evaluate] FAR 12.40% → 8.10% · 2m · next: rca"
    assert (short_duration(3), short_duration(3700)) == ("3s", "1h01m")
