"""What a training shows of its progress: a bar of steps, or lines with rate and time left."""

import re

import pytest

from deft.changenet.training import progress
from deft.changenet.training.progress import Reporter

VALIDATION = {"val_loss": 0.5, "val_far_pct": 10.0, "val_recall_pct": 100.0}


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when a test says so."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_short_epoch_is_one_line(clock):
    lines = []
    reporter = Reporter(2, 0, lines.append, 10)
    for step in range(1, 11):
        clock[0] += 1.0
        reporter.step(0, step)
    reporter.epoch(0, 0.25, VALIDATION)
    (line,) = lines
    assert line == (
        "epoch 1/2 · train loss 0.2500 · val loss 0.5000 · val FAR 10.0% · val recall 100.0% · "
        "10 s left"
    )


def test_a_long_epoch_tells_rate_and_time_left_each_minute(clock):
    lines = []
    reporter = Reporter(2, 0, lines.append, 400)
    for step in range(1, 401):
        clock[0] += 0.5
        reporter.step(0, step)
    assert [re.search(r"step (\d+)", line)[1] for line in lines] == ["120", "240", "360"]
    assert lines[0] == "epoch 1/2 · step 120/400 · 2.00 steps/s · 340 s left"


def test_a_resumed_training_counts_only_what_it_makes_itself(clock):
    lines = []
    reporter = Reporter(4, 2, lines.append, 100, made=50)
    clock[0] += 100.0
    reporter.step(2, 100)
    reporter.epoch(2, 0.1, None)
    assert lines == ["epoch 3/4 · train loss 0.1000 · 200 s left"]


def test_the_bar_ticks_by_step(monkeypatch, capsys):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    reporter = Reporter(2, 0, None, 10)
    assert (reporter.bar.total, reporter.bar.n) == (20, 0)
    reporter.step(0, 1)
    reporter.step(0, 3)
    assert reporter.bar.n == 3
    reporter.epoch(0, 0.1, VALIDATION)
    reporter.step(1, 10)
    assert reporter.bar.n == 20
    reporter.close()
    shown = capsys.readouterr()
    assert "epoch 2/2" in shown.err and shown.out == ""
