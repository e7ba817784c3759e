"""Which staged file fills a backbone: by what is in it, whatever it is called."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import save_file

from deft.changenet.model import build_model
from deft.changenet.spec import from_dict
from deft.changenet.staged_backbone import backbone_file
from deft.core.errors import HardStop
from deft.core.layout import BACKBONE_DIR
from deft.core.weight_files import BACKBONE_KEY

IN_A_CONTAINER = "/data/pretrained_models/C-RADIOv2_B.pth"  # as NVIDIA's specs have it
TAOS = "fan_tiny_8_p4_hybrid"


def a_spec(kind="timm:test_convnext", path=IN_A_CONTAINER, **backbone):
    strides = [4, 8, 16, 16] if kind == TAOS else [4, 8, 16, 32]
    model = {
        "backbone": {"type": kind, "pretrained_backbone_path": path, **backbone},
        "decode_head": {"feature_strides": strides},
        "classify": {"difference_module": "learnable"},
    }
    size = {"image_width": 64, "image_height": 64}
    dataset = {"classify": {"num_input": 1, "input_map": {"A": 0}, **size}}
    return from_dict({"model": model, "dataset": dataset, "train": {"classify": {"loss": "ce"}}})


def weights_of(spec):
    return build_model(spec).model.backbone.state_dict()


@pytest.fixture
def staged(tmp_path):
    folder = tmp_path / BACKBONE_DIR
    folder.mkdir(parents=True)
    torch.save({"state_dict": {"x": torch.zeros(2)}}, folder / "another.pth")
    (folder / "notes.txt").write_text("not looked at")
    return folder


def stop(spec, workspace, **options):
    with pytest.raises(HardStop) as caught:
        backbone_file(spec, workspace, **options)
    return caught.value


@pytest.mark.parametrize("kind", ["timm:test_convnext", TAOS])
def test_the_one_staged_file_that_fits_is_taken_under_any_name(tmp_path, staged, kind):
    spec = a_spec(kind)
    (staged / "broken.ckpt").write_bytes(b"PK\x03\x04 not a model")
    if kind == TAOS:
        torch.save(weights_of(spec), staged / "c_radio_v2_b.pth")
        assert backbone_file(spec, tmp_path) == staged / "c_radio_v2_b.pth"
    save_file(weights_of(a_spec()), staged / "model.safetensors")
    if kind != TAOS:
        assert backbone_file(spec, tmp_path) == staged / "model.safetensors"
    else:  # a file of another network beside it makes no choice
        assert backbone_file(spec, tmp_path) == staged / "c_radio_v2_b.pth"


def test_a_path_that_exists_is_taken_unseen(tmp_path, staged):
    torch.save(weights_of(a_spec()), staged / "fits.pth")
    (tmp_path / "mine.pth").write_bytes(b"what it is, its own check says")
    assert backbone_file(a_spec(path="mine.pth"), tmp_path) == tmp_path / "mine.pth"


def test_several_that_fit_stop_and_are_listed(tmp_path, staged):
    torch.save(weights_of(a_spec()), staged / "b.pth")
    shutil.copy(staged / "b.pth", staged / "a.ckpt")
    error = stop(a_spec(), tmp_path)
    assert error.code == "spec_invalid" and "2 files" in error.message
    assert "a.ckpt, b.pth" in error.message and IN_A_CONTAINER in error.message
    assert "another.pth" not in error.message and f"{BACKBONE_KEY}: " in error.fix


def test_none_that_fits_stops_and_says_why(tmp_path, staged):
    wrong = weights_of(a_spec())
    name = next(iter(wrong))
    wrong[name] = torch.zeros(1, *wrong[name].shape)
    torch.save(wrong, staged / "close.pth")
    error = stop(a_spec(), tmp_path)
    assert error.code == "missing_input" and "no file" in error.message
    assert "another.pth: " in error.message and "close.pth: " in error.message
    assert "misshapen" in error.message
    shutil.rmtree(staged)
    assert "nothing is there" in stop(a_spec(), tmp_path).message


def test_an_address_is_a_staged_file_too(tmp_path, staged):
    torch.save(weights_of(a_spec()), staged / "b.pth")
    spec = a_spec(path="hf://nvidia/C-RADIOv2-B/model.safetensors")
    assert backbone_file(spec, tmp_path) == staged / "b.pth"


def test_an_empty_path_of_a_taos_backbone(tmp_path, staged):
    spec = a_spec(TAOS, path="")
    error = stop(spec, tmp_path)
    assert error.code == "missing_input" and "is empty" in error.message
    assert "random_weights=true" in error.fix
    assert backbone_file(spec, tmp_path, random_weights=True) is None
    torch.save(weights_of(spec), staged / "fan.pth")
    assert backbone_file(spec, tmp_path) == staged / "fan.pth"
    assert backbone_file(spec, tmp_path, random_weights=True) is None


def test_an_empty_path_of_any_timm_model_means_random_numbers(tmp_path, staged):
    torch.save(weights_of(a_spec()), staged / "b.pth")
    assert backbone_file(a_spec(path=""), tmp_path) is None


def test_weights_of_the_whole_network_need_no_backbone(tmp_path):
    spec = a_spec(TAOS, path="")
    spec.train.pretrained_model_path = "whole.pth"
    assert backbone_file(spec, tmp_path) is None


@pytest.mark.parametrize(("kind", "random"), [("timm:test_convnext", False), (TAOS, True)])
def test_random_numbers_are_never_frozen(tmp_path, kind, random):
    error = stop(a_spec(kind, path="", freeze_backbone=True), tmp_path, random_weights=random)
    assert error.code == "spec_invalid" and "random numbers for ever" in error.message


def test_a_file_that_would_run_code_does_not_fit(tmp_path, staged):
    torch.save({"model": print}, staged / "evil.pth")
    error = stop(a_spec(), tmp_path)
    assert "evil.pth: " in error.message
