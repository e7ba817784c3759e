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


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("same", [True, False])
def test_on_a_gpu_other_bytes_are_announced_at_once(tmp_path, monkeypatch, capsys, device, same):
    written, said = b"weights" if same else b"other", []

    def train_again(spec, *, out_dir, **_):
        said.append(capsys.readouterr().out)  # before the hours of a training
        out_dir.mkdir(parents=True)
        (out_dir / "model_best_003.pth").write_bytes(written)

    kept = tmp_path / "kept"
    kept.write_bytes(b"weights")
    table = {"files": [{"path": "model_best_003.pth", "sha256": stage.sha256_file(kept)}]}
    monkeypatch.setattr(stage, "run_training", train_again)
    monkeypatch.setattr(stage, "weights_table", lambda record: table)
    monkeypatch.setattr(stage, "phase_spec", lambda *_: None)
    monkeypatch.setattr(stage, "training_devices", lambda spec, name: [torch.device(name)])
    run = Run(tmp_path, "run_a")
    run.dir.mkdir(parents=True)
    files, options = Files(tmp_path / "weights.json"), Options(device=device)
    target = tmp_path / "model_best_003.pth"
    expected = nullcontext() if same else pytest.raises(HardStop, match="other bytes")
    with expected as caught:
        stage.restore_weights(Context(run), files, target, "baseline", epochs=1, options=options)
    assert target.is_file() is same
    assert ("On a GPU it may differ" in said[0]) is (device == "cuda")
    if not same:
        assert ("may happen on a GPU" in str(caught.value)) is (device == "cuda")
