"""GPU facts must be had without a GPU; the batch rule meets its two given points."""

from __future__ import annotations

import sys

import pytest

from deft.core.hardware import advised_batch, cpus, free_disk_gib, gpus


def test_no_driver_library_is_no_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpus() == []


def test_facts_of_this_machine(tmp_path):
    assert cpus() >= 1
    assert free_disk_gib(tmp_path / "not/yet/there") > 0
    assert all(g.memory_gib > 0 and g.name for g in gpus())


@pytest.mark.parametrize(
    ("memory_gib", "batch"), [(48.0, 16), (44.99, 16), (24.0, 8), (22.5, 8), (79.6, 26), (2.0, 1)]
)
def test_given_points_of_the_batch_rule(memory_gib, batch):
    assert advised_batch(memory_gib) == batch


def test_larger_pictures_take_smaller_batches():
    assert advised_batch(48.0, 448 * 448) == 4
    assert advised_batch(48.0, 112 * 112) == 16
