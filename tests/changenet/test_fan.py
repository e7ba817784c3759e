import copy

import pytest
import torch
from changenet_pairs import spec_data

from deft.changenet.backbones import fan
from deft.changenet.backbones.fan import Fan, FanSize
from deft.changenet.backbones.fan_blocks import ChannelProcessing, SampleLayerNorm2d
from deft.changenet.model import build_model
from deft.changenet.spec import from_dict, render
from deft.core.errors import HardStop

TINY = FanSize(width=16, depth=2, heads=2, stem_depths=(1, 1), third_level=0)
NAME = "fan_tiny_8_p4_hybrid"


@pytest.fixture
def tiny_hybrid(monkeypatch):
    """The name of a hybrid, made tiny."""
    monkeypatch.setattr(fan, "STEM_CHANNELS", (8, 12))
    monkeypatch.setitem(fan.SIZES, NAME, TINY)
    torch.manual_seed(0)
    return NAME


def fan_spec(name, *, learnable=True, **backbone):
    data = spec_data(classify={"loss": "ce" if learnable else "contrastive"})
    data["model"]["backbone"] = {"type": name, **backbone}
    data["model"]["decode_head"]["feature_strides"] = [4, 8, 16, 16]
    data["model"]["classify"]["difference_module"] = "learnable" if learnable else "euclidean"
    return from_dict(data)


def pictures(count=3, height=32, width=32):
    return torch.randn(2, count, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_maps_of_any_multiple_of_16(tiny_hybrid):
    backbone = Fan(TINY, (32, 48)).eval()
    levels = backbone(pictures(height=32, width=48)[0])
    assert [tuple(x.shape[1:]) for x in levels] == [(8, 8, 12), (12, 4, 6), (16, 2, 3), (16, 2, 3)]
    assert [x.shape[1] for x in levels] == backbone.channels
    # Taken before and after the class attention.
    assert not torch.allclose(levels[2], levels[3])
    assert backbone.embedding(pictures(height=32, width=48)[0]).shape == (
        3,
        backbone.embedding_width,
    )


@pytest.mark.parametrize("learnable", [True, False])
def test_one_batch_of_both_sides_only_in_eval(tiny_hybrid, learnable):
    network = build_model(fan_spec(tiny_hybrid, learnable=learnable))
    assert network.train().model.backbone.joint_batch is False
    assert network.eval().model.backbone.joint_batch is True
    test, golden = pictures()
    together = network(test, golden)
    apart = torch.cat([network(test[i : i + 1], golden[i : i + 1]) for i in range(3)])
    assert torch.allclose(together, apart, atol=1e-5)
    network.train()(test, golden)
    counters = [v for k, v in network.state_dict().items() if "backbone" in k and "tracked" in k]
    assert counters and all(int(counter) == 2 for counter in counters)  # once per side


def test_what_learns(tiny_hybrid):
    """Patch tokens never read the class token, so what only it passes through does not learn."""
    network = build_model(fan_spec(tiny_hybrid)).train()
    network(*pictures()).square().sum().backward()
    still = {k for k, p in network.model.backbone.named_parameters() if not p.grad.any()}
    expected = {
        name
        for name, _ in network.model.backbone.named_parameters()
        if name == "cls_token"
        or (name.startswith("cls_attn_blocks") and (".attn." in name or ".mlp." in name))
        or (name.startswith("cls_attn_blocks") and name.endswith("gamma2"))
    }
    assert still == expected


def test_sample_norm_by_hand():
    norm = SampleLayerNorm2d(2)
    # Mean 2, deviation of the sample sqrt(2), not 1.
    found = norm(torch.tensor([1.0, 3.0]).reshape(1, 2, 1, 1)).flatten()
    assert torch.allclose(found, torch.tensor([-1.0, 1.0]) / 2**0.5, atol=1e-5)
    half = norm(torch.randn(1, 2, 3, 3, dtype=torch.bfloat16))
    assert half.dtype == torch.float32


def test_channel_weights_lie_between_half_and_one_temperature():
    """Softmaxes are positive and sum to 1, so their product lies in 0..1, its sigmoid in
    0.5..0.74, and every value is scaled by that much times the head's temperature."""
    torch.manual_seed(0)
    layer = ChannelProcessing(8, 2, 16).eval()
    tokens = torch.randn(2, 6, 8)
    with torch.no_grad():
        layer.temperature[1] = 3.0
        value = layer.norm_v(layer.mlp_v(tokens, (2, 3)))
        weight = layer(tokens, (2, 3)) / value
    assert torch.allclose(weight, weight[:, :1].expand_as(weight), rtol=1e-3)  # per channel
    first, second = weight[:, 0, :4], weight[:, 0, 4:]
    assert ((first > 0.5) & (first < 0.74)).all()
    assert ((second > 1.5) & (second < 2.22)).all()


def test_backbone_files(tiny_hybrid, tmp_path):
    path = tmp_path / "fan.pth"
    source = Fan(TINY, (32, 32)).state_dict()
    file = {f"module.{k}": v for k, v in source.items()}
    file |= {"module.head.weight": torch.zeros(5, 16), "module.norm.weight": torch.zeros(16)}
    torch.save({"state_dict": file}, path)
    spec = fan_spec(tiny_hybrid, pretrained_backbone_path=str(path))
    backbone = build_model(spec, backbone_file=path).model.backbone
    assert all(torch.equal(v, source[k]) for k, v in backbone.state_dict().items())

    broken = copy.copy(source)
    del broken["pos_embed.token_projection.bias"]
    broken["cls_token"] = torch.zeros(1, 1, 7)
    broken["blocks.7.gamma1"] = torch.zeros(16)
    torch.save(broken, path)
    with pytest.raises(HardStop) as caught:
        build_model(spec, backbone_file=path)
    message = caught.value.message
    assert "1 missing (pos_embed.token_projection.bias)" in message
    assert "1 extra (blocks.7.gamma1)" in message
    assert "1 misshapen (cls_token (1, 1, 7) instead of (1, 1, 16))" in message
    assert "\n" not in message


def test_strides_and_sizes_are_checked(tiny_hybrid):
    spec = fan_spec(tiny_hybrid)
    with pytest.raises(HardStop, match=r"feature_strides is \[4, 8, 16, 32\], but .* gives"):
        build_model(render(spec, {"model.decode_head.feature_strides": [4, 8, 16, 32]}))
    with pytest.raises(HardStop, match="multiples of 16 pixels; the joined picture is 36 x 32"):
        build_model(render(spec, {"dataset.classify.image_width": 36}))


def test_encoder_pads_sides_that_do_not_fit(tiny_hybrid):
    backbone, picture = Fan(TINY, (32, 48)).eval(), pictures(height=20, width=40)[0]
    fitting = torch.nn.functional.pad(picture, (0, 8, 0, 12))
    assert torch.equal(backbone.pooled(picture), backbone.pooled(fitting))
