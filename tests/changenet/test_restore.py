"""Restoring a deleted weight file by training again: what is said before and after."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from deft.changenet.training.options import Options
from deft.core.errors import HardStop
from deft.stages import train as step


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
    table = {"files": [{"path": "model_best_003.pth", "sha256": step.sha256_file(kept)}]}
    monkeypatch.setattr(step, "train", train_again)
    monkeypatch.setattr(step, "phase_spec", lambda *_: None)
    monkeypatch.setattr(step, "training_devices", lambda spec, name: [torch.device(name)])
    context = SimpleNamespace(
        weights_table=lambda phase: table,
        training_table=lambda phase: None,
        run=SimpleNamespace(dir=tmp_path, phase=lambda phase: tmp_path / phase),
        workspace=tmp_path,
        relative=str,
    )
    target = tmp_path / "model_best_003.pth"
    expected = nullcontext() if same else pytest.raises(HardStop, match="other bytes")
    with expected as caught:
        step.restore_file(context, "baseline", target, epochs=1, options=Options(device=device))
    assert target.is_file() is same
    assert ("On a GPU it may differ" in said[0]) is (device == "cuda")
    if not same:
        assert ("may happen on a GPU" in str(caught.value)) is (device == "cuda")
