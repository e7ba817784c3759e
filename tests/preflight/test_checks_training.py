"""What a training would refuse on this machine is said before anything runs."""

import sys
from types import SimpleNamespace

import pytest
import torch
from changenet_pairs import spec_data

from deft.changenet.spec import from_dict
from deft.preflight.checks_model import checks


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def training_check(tmp_path, device="cpu", **train):
    spec = from_dict(spec_data(**train))
    config = {"device": device, "engine": "native", "runtime": "torch"}
    run_dir = tmp_path / "results/run_a"
    context = SimpleNamespace(spec=spec, config=config, workspace=tmp_path, run_dir=run_dir)
    (found,) = [check for check in checks(context) if check.id == "training"]
    return found


def test_what_can_be_trained(tmp_path):
    found = training_check(tmp_path, precision="bf16-mixed", num_gpus=2)
    assert found.status == "ok"
    assert "2 process(es), precision bf16-mixed" in found.evidence


def test_float16_on_the_cpu_stops(tmp_path):
    found = training_check(tmp_path, precision="16-mixed")
    assert (found.status, found.stop.code) == ("stop", "spec_invalid")


@pytest.mark.parametrize("wanted", [{"num_gpus": 4}, {"precision": "16-mixed"}])
def test_gpus_of_another_machine_are_a_warning(tmp_path, wanted):
    assert training_check(tmp_path, device="cuda", **wanted).status == "warn"
    assert training_check(tmp_path, device="cuda").status == "ok"


def test_a_file_to_go_on_from_that_is_not_there(tmp_path):
    found = training_check(tmp_path, resume_training_checkpoint_path="weights/gone.pth")
    assert (found.status, found.stop.code) == ("stop", "missing_input")
    assert "weights/gone.pth" in found.evidence


def test_tensorboard_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    found = training_check(tmp_path, tensorboard={"enabled": True})
    assert found.status == "stop" and "tensorboard" in found.evidence


def test_the_home_folder_may_be_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home/m.pth").write_bytes(b"x")
    assert training_check(tmp_path, resume_training_checkpoint_path="~/m.pth").status == "ok"
