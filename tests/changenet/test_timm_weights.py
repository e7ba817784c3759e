"""timm's published files fill timm: backbones wholly, whatever timm's feature wrapper renames."""

from __future__ import annotations

import argparse

import pytest
import timm
import torch
from safetensors.torch import save_file

from deft.changenet.backbones.timm_features import TimmBackbone
from deft.changenet.backbones.timm_weights import load_backbone
from deft.core.errors import HardStop

pytestmark = pytest.mark.long

STRIDES = [4, 8, 16, 32]
# One small model of each way in which timm wraps and renames: lists with sequences laid flat,
# getters, hooks, position tables that follow the picture.
NAMES = (
    "test_convnext", "convnext_atto", "edgenext_xx_small", "efficientformerv2_s0", "repvit_m1_5",
    "swin_tiny_patch4_window7_224", "swinv2_cr_tiny_ns_224", "maxvit_rmlp_pico_rw_256", "test_vit",
    "test_resnet", "test_efficientnet", "mobilenetv3_small_050", "regnetx_002", "fastvit_t8",
    "mobilenetv4_conv_small", "pvt_v2_b0", "starnet_s1",
)  # fmt: skip


def backbone_of(name: str, size: int = 0) -> TimmBackbone:
    size = size or (256 if "256" in name else 224)
    return TimmBackbone(name, (size, size), STRIDES)


def published(name: str, **options) -> dict[str, torch.Tensor]:
    """The state of a whole model with numbers that no other tensor has."""
    model = timm.create_model(name, pretrained=False, **options)
    random = torch.Generator().manual_seed(3)
    return {
        key: torch.rand(value.shape, generator=random) + i
        if value.is_floating_point()
        else value.clone()
        for i, (key, value) in enumerate(model.state_dict().items())
    }


def timms_own(name: str, path, **options) -> dict[str, torch.Tensor]:
    """What timm itself makes of a file: the whole model is filled, then wrapped."""
    return timm.create_model(
        name,
        features_only=True,
        out_indices=(-4, -3, -2, -1),
        pretrained=True,
        pretrained_cfg_overlay={"file": str(path)},
        **options,
    ).state_dict()


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_is_timms(tmp_path, name):
    backbone, path = backbone_of(name), tmp_path / "m.pth"
    torch.save(published(name, **backbone.made_with), path)
    load_backbone(backbone, path)
    wanted, found = timms_own(name, path, **backbone.made_with), backbone.net.state_dict()
    assert wanted.keys() == found.keys()
    assert [key for key in wanted if not torch.equal(wanted[key], found[key])] == []


def same(name: str, path, state) -> None:
    backbone, plain = backbone_of(name), backbone_of(name)
    direct = path.with_name("direct.pth")
    torch.save(state, direct)
    load_backbone(plain, direct)
    load_backbone(backbone, path)
    wanted = plain.net.state_dict()
    assert all(torch.equal(value, wanted[k]) for k, value in backbone.net.state_dict().items())


@pytest.mark.parametrize(
    "wrapper", ["state_dict", "model", "state_dict_ema", "model_ema", "teacher"]
)
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.model.", "_orig_mod."])
def test_wrappers_and_prefixes_of_trainers(tmp_path, wrapper, prefix):
    state = published("test_convnext")
    wrapped = {wrapper: {prefix + key: value for key, value in state.items()}}
    wrapped |= {"epoch": 3, "args": argparse.Namespace(lr=0.1), "arch": "test_convnext"}
    torch.save(wrapped, tmp_path / "m.pth.tar")
    same("test_convnext", tmp_path / "m.pth.tar", state)


def test_the_averaged_weights_come_first_as_in_timm(tmp_path):
    state = published("test_convnext")
    torch.save(
        {"state_dict": {k: v * 0 for k, v in state.items()}, "state_dict_ema": state},
        tmp_path / "m.pth",
    )
    same("test_convnext", tmp_path / "m.pth", state)


@pytest.mark.parametrize("classes", [0, 2, 21841])
def test_any_head_or_none(tmp_path, classes):
    state = published("test_convnext", num_classes=classes)
    save_file(state, tmp_path / "model.safetensors")
    same("test_convnext", tmp_path / "model.safetensors", state)


def test_files_of_the_features_alone_and_of_old_torch(tmp_path):
    state = published("test_convnext")
    backbone = backbone_of("test_convnext")
    torch.save(state, tmp_path / "whole.pth")
    load_backbone(backbone, tmp_path / "whole.pth")
    torch.save(backbone.net.state_dict(), tmp_path / "features.pth")  # names as stages_0.…
    same("test_convnext", tmp_path / "features.pth", state)
    counted = published("test_resnet")
    torch.save({k: v for k, v in counted.items() if "num_batches" not in k}, tmp_path / "old.pth")
    same("test_resnet", tmp_path / "old.pth", counted)


def test_what_a_file_is_shows_in_its_bytes(tmp_path):
    state = published("test_convnext")
    torch.save(state, tmp_path / "torch.safetensors")
    save_file(state, tmp_path / "safe.pth")
    torch.save(state, tmp_path / "legacy.bin", _use_new_zipfile_serialization=False)
    same("test_convnext", tmp_path / "safe.pth", state)
    same("test_convnext", tmp_path / "legacy.bin", state)
    with pytest.raises(HardStop, match="no safetensors file, whatever its name says"):
        load_backbone(backbone_of("test_convnext"), tmp_path / "torch.safetensors")


@pytest.mark.parametrize("name", ["test_convnext", "test_resnet", "swin_tiny_patch4_window7_224"])
def test_nothing_is_left_at_random(tmp_path, name):
    """Each tensor of the backbone that a file lacks is a stop that names it."""
    backbone = backbone_of(name)
    state = published(name, **backbone.made_with)
    before = {k: v.clone() for k, v in backbone.net.state_dict().items()}
    from deft.changenet.backbones.timm_weights import whole_names

    used = list(whole_names(before, state).values())
    for lacking in [k for k in used if not k.endswith("num_batches_tracked")][:: len(used) // 7]:
        if "relative_position_index" in lacking:
            continue
        torch.save({k: v for k, v in state.items() if k != lacking}, tmp_path / "m.pth")
        with pytest.raises(HardStop, match=r"1 missing") as stop:
            load_backbone(backbone, tmp_path / "m.pth")
        assert lacking in stop.value.message
    assert all(torch.equal(v, before[k]) for k, v in backbone.net.state_dict().items())


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda s, k: s | {k: torch.full_like(s[k], float("nan"))}, "1 tensor.*not finite"),
        (lambda s, k: s | {k: torch.full_like(s[k], float("inf"))}, "1 tensor.*not finite"),
        (lambda s, k: s | {k: s[k].double() + 1e300}, "1 tensor.*not finite"),
        (lambda s, k: {"ema": s, "epoch": 3}, "no tensors where they are looked for.*ema, epoch"),
        (lambda s, k: s | {k: s[k].to(torch.int8)}, "torch.int8 instead of torch.float32"),
        (lambda s, k: s | {k: torch.zeros(3, 5)}, r"1 misshapen.*\(3, 5\) instead of"),
        (lambda s, k: s | {"blocks.9.fc1.weight": s[k]}, r"1 extra \(blocks.9.fc1.weight\)"),
    ],
)
def test_files_that_do_not_fit(tmp_path, damage, words):
    state = published("test_convnext")
    key = next(k for k in state if k.startswith("stages.1") and k.endswith("weight"))
    torch.save(damage(state, key), tmp_path / "m.pth")
    with pytest.raises(HardStop, match=words):
        load_backbone(backbone_of("test_convnext"), tmp_path / "m.pth")


@pytest.mark.parametrize(("name", "file_of"), [("test_convnext", "test_resnet"),
                                               ("test_resnet", "test_convnext"),
                                               ("convnext_atto", "test_convnext"),
                                               ("test_vit", "test_resnet")])  # fmt: skip
def test_another_networks_file(tmp_path, name, file_of):
    size = 160 if name == "test_vit" else 224
    torch.save(published(file_of), tmp_path / "m.pth")
    with pytest.raises(HardStop) as stop:
        load_backbone(backbone_of(name, size), tmp_path / "m.pth")
    assert stop.value.code == "spec_invalid" and "\n" not in stop.value.message


def test_half_precision_becomes_float32(tmp_path):
    state = {
        k: v.bfloat16() if v.is_floating_point() else v
        for k, v in published("test_convnext").items()
    }
    torch.save(state, tmp_path / "m.pth")
    same("test_convnext", tmp_path / "m.pth", {k: v.float() for k, v in state.items()})
