"""Reading TAO's status log: its own example, gaps between validations, a torn last line."""

from __future__ import annotations

import json

import pytest
from tao_reference import FOLDER

from deft.tao.status import read_status


def write(path, *lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def validated(loss):
    return {"status": "RUNNING", "message": "Eval metrics generated.", "kpi": {"val_loss": loss}}


def epoch(number, step, **kpi):
    return {"epoch": number, "step": step, "message": "Training loop in progress", "kpi": kpi}


def test_taos_own_example():
    found = read_status(FOLDER / "io/status_example.jsonl")
    assert found.failure is None
    told = [(e.epoch, e.step, e.val_loss, e.train_loss) for e in found.ordered()]
    assert told == [
        (0, 3, pytest.approx(0.70457906), pytest.approx(0.66808374)),
        (1, 6, pytest.approx(0.64343389), pytest.approx(0.38200924)),
    ]


def test_a_repeated_figure_is_no_validation(tmp_path):
    lines = [epoch(0, 3), validated(0.5), epoch(1, 6, val_loss=0.5), epoch(2, 9, val_loss=0.5)]
    found = read_status(write(tmp_path / "s", *lines))
    assert [e.val_loss for e in found.ordered()] == [None, 0.5, None]


def test_the_last_word_of_a_resumed_training_counts(tmp_path):
    again = [validated(0.9), epoch(0, 3), validated(0.8), epoch(1, 6), validated(0.7), epoch(1, 6)]
    path = write(tmp_path / "s", *again)
    path.write_text(path.read_text() + '{"epoch": 2, "st')
    assert [e.val_loss for e in read_status(path).ordered()] == [0.9, 0.7]


def test_a_failure_is_told(tmp_path):
    path = write(tmp_path / "s", {"status": "FAILURE", "message": "CUDA error"})
    assert read_status(path).failure == "CUDA error"
    assert read_status(tmp_path / "absent").epochs == {}
