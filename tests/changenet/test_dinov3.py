"""DINOv3 on timm: the same tokens as timm's own run, frozen, files, counts of every name."""

import pytest
import torch
from changenet_pairs import spec_data
from safetensors.torch import save_file

from deft.changenet import backbones
from deft.changenet.backbones import dinov3
from deft.changenet.model import ChangeNet, build_model
from deft.changenet.spec import from_dict
from deft.changenet.spec.backbones import needs_file
from deft.core.errors import HardStop

NAME = "vit_small_dinov3"
MAKE = dinov3.dino_vit  # which a fixture replaces
PARAMETERS_M = {  # of the transformer alone
    "vit_small_dinov3": 21.59,
    "vit_small_plus_dinov3": 28.68,
    "vit_base_dinov3": 85.64,
    "vit_large_dinov3": 303.08,
    "vit_huge_plus_dinov3": 840.51,
    "vit_7b_dinov3": 6716.03,
}


def vit():
    torch.manual_seed(0)
    return MAKE("vit_small_patch16_dinov3", embed_dim=32, depth=4, num_heads=2)


def dino_data(name=NAME, learnable=True, path="dinov3.safetensors", **backbone):
    data = spec_data(classify={"loss": "ce" if learnable else "contrastive"})
    data["model"]["classify"]["difference_module"] = "learnable" if learnable else "euclidean"
    data["model"]["decode_head"]["use_summary_token"] = True
    data["model"]["backbone"] = {
        "type": name,
        "freeze_backbone": True,
        "pretrained_backbone_path": str(path),
        **backbone,
    }
    return data


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(dinov3, "dino_vit", lambda name: vit())


def test_adapter_runs_the_blocks_as_timm_does():
    adapter = dinov3.DinoV3Adapter(vit(), dinov3.AdapterSize(prior_width=4)).eval()
    kept = {}
    for i, interaction in enumerate(adapter.interactions):
        torch.nn.init.zeros_(interaction.injector.ls.gamma)  # nothing injected
        interaction.register_forward_hook(lambda _m, _i, out, i=i: kept.update({i: out[0]}))
    pictures = torch.randn(2, 3, 48, 64)
    with torch.no_grad():
        maps = adapter(pictures)
        levels = adapter.vit.forward_intermediates(
            pictures, indices=4, norm=False, intermediates_only=True, output_fmt="NLC"
        )
    for i, wanted in enumerate(levels):
        assert (kept[i][:, 5:] - wanted).abs().max() < 1e-5
    assert [tuple(m.shape[1:]) for m in maps] == [(32, 12, 16), (32, 6, 8), (32, 3, 4), (32, 2, 2)]


def test_embedding_is_the_normalised_class_token():
    backbone = dinov3.DinoV3(vit()).eval()
    pictures = torch.randn(2, 3, 32, 48)
    with torch.no_grad():
        found = backbone.embedding(pictures)
        _, prefix = backbone.inner.forward_intermediates(
            pictures, indices=1, norm=True, intermediates_only=True, return_prefix_tokens=True
        )[0]
        assert (found - prefix[:, 0]).abs().max() < 1e-6
        assert backbone(pictures)[3].shape == (2, 32, 2, 3)
    assert all(key.startswith("inner.") for key in backbone.state_dict())


def test_only_frozen():
    with pytest.raises(HardStop, match="frozen only"):
        from_dict(dino_data(freeze_backbone=False))
    with pytest.raises(HardStop, match="random numbers for ever"):
        needs_file(from_dict(dino_data(path="")), random_weights=True)
    assert needs_file(from_dict(dino_data(path="")), random_weights=False), "a staged one"


@pytest.mark.parametrize("learnable", [True, False])
@pytest.mark.parametrize("prefix", ["", "vit.", "inner."])
def test_frozen_and_filled(tiny, tmp_path, learnable, prefix):
    path = tmp_path / "dinov3.safetensors"
    source = vit()
    torch.nn.init.normal_(source.cls_token)
    save_file({prefix + k: v for k, v in source.state_dict().items()}, path)
    model = build_model(from_dict(dino_data(learnable=learnable, path=path)), backbone_file=path)
    backbone = model.train().model.backbone
    inside = backbone.vit if learnable else backbone.inner
    assert torch.equal(inside.cls_token, source.cls_token) and not inside.training
    assert not any(p.requires_grad for p in inside.parameters())
    assert all(
        p.requires_grad
        for name, p in model.named_parameters()
        if ".vit." not in name and ".inner." not in name
    )
    output = model(*torch.randn(2, 4, 3, 32, 32))
    (output * torch.randn_like(output)).sum().backward()


def test_unconverted_and_other_files_are_refused(tmp_path):
    backbone = dinov3.DinoV3(vit())
    path = tmp_path / "dinov3.safetensors"
    state = vit().state_dict()
    save_file({**state, "register_tokens": torch.zeros(1)}, path)
    with pytest.raises(HardStop, match="register_tokens") as stop:
        backbone.load_pretrained(path)
    assert "dinov3 convert" in stop.value.fix
    del state["blocks.0.gamma_1"]
    save_file(state, path)
    with pytest.raises(HardStop, match=r"1 missing \(blocks.0.gamma_1\)"):
        backbone.load_pretrained(path)


@pytest.mark.parametrize("learnable", [True, False])
@pytest.mark.parametrize("name", PARAMETERS_M)
def test_every_name(name, learnable):
    assert name in backbones.NATIVE
    with torch.device("meta"):
        model = ChangeNet(from_dict(dino_data(name, learnable)))
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    assert round(frozen / 1e6, 2) == PARAMETERS_M[name]
    prefix = "model.backbone." + ("vit." if learnable else "inner.")
    found = [k for k in model.state_dict() if k.startswith(prefix)]
    with torch.device("meta"):
        wanted = dinov3.dino_vit(dinov3.TIMM_NAMES[name]).state_dict()
    assert found == [prefix + k for k in wanted]
