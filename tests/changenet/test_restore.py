"""Restoring a deleted weight file by training again: what is said before and after."""

from contextlib import nullcontext

import pytest
import torch

from deft.changenet.training.options import Options
from deft.core.errors import HardStop
from deft.core.layout import Run
from deft.stages import restore_weights as stage
from deft.stages.context import Context
from deft.stages.train import Files

NAME = "model_best_003.pth"


def lost_file(tmp_path, monkeypatch, written, before=lambda: None, **recorded):
    """Return the restoring of a file, whose training is played: it writes ``written``."""

    def train_again(spec, *, out_dir, **_):
        before()
        out_dir.mkdir(parents=True)
        (out_dir / NAME).write_bytes(written)

    kept = tmp_path / "kept"
    kept.write_bytes(b"weights")
    table = {"files": [{"path": NAME, "sha256": stage.sha256_file(kept)}], **recorded}
    monkeypatch.setattr(stage, "run_training", train_again)
    monkeypatch.setattr(stage, "weights_table", lambda record: table)
    monkeypatch.setattr(stage, "phase_spec", lambda *_: None)
    monkeypatch.setattr(stage, "training_devices", lambda spec, name: [torch.device(name)])
    run = Run(tmp_path, "run_a")
    run.dir.mkdir(parents=True)
    files = Files(tmp_path / "weights.json")
    return lambda options: stage.restore_weights(
        Context(run), files, tmp_path / NAME, "baseline", epochs=1, options=options
    )


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("same", [True, False])
def test_on_a_gpu_other_bytes_are_announced_at_once(tmp_path, monkeypatch, capsys, device, same):
    written, said = b"weights" if same else b"other", []

    def before() -> None:
        said.append(capsys.readouterr().out)  # before the hours of a training

    restore = lost_file(tmp_path, monkeypatch, written, before)
    target = tmp_path / NAME
    expected = nullcontext() if same else pytest.raises(HardStop, match="other bytes")
    with expected as caught:
        restore(Options(device=device))
    assert target.is_file() is same
    assert ("On a GPU it may differ" in said[0]) is (device == "cuda")
    if not same:
        assert ("may happen on a GPU" in str(caught.value)) is (device == "cuda")


def test_other_threads_than_the_training_had_stop_before_it_is_repeated(tmp_path, monkeypatch):
    begun = []
    restore = lost_file(tmp_path, monkeypatch, b"other", lambda: begun.append(True), cpu_threads=2)
    with pytest.raises(HardStop) as stop:
        restore(Options(device="cpu", threads=1))
    assert not begun and stop.value.code == "no_new_checkpoint"
    assert "baseline was trained with 2 thread(s), this command gives" in stop.value.message
    assert "--cores 2" in stop.value.fix and "-R" not in stop.value.fix


@pytest.mark.parametrize(("device", "threads"), [("cpu", 2), ("cuda", 1)])
def test_the_threads_of_the_training_restore_it_and_a_gpu_needs_none(
    tmp_path, monkeypatch, device, threads
):
    recorded = 2 if device == "cpu" else None
    restore = lost_file(tmp_path, monkeypatch, b"weights", cpu_threads=recorded)
    assert "restored" in restore(Options(device=device, threads=threads))


@pytest.mark.parametrize("recorded", [{}, {"cpu_threads": 1}])
def test_other_bytes_of_a_file_without_record_may_be_the_threads(tmp_path, monkeypatch, recorded):
    """Runs from before the number was recorded."""
    restore = lost_file(tmp_path, monkeypatch, b"other", **recorded)
    with pytest.raises(HardStop) as stop:
        restore(Options(device="cpu", threads=1))
    assert ("It had 1 thread(s)" in stop.value.message) is (not recorded)
    assert ("try another --cores first" in stop.value.message) is (not recorded)
