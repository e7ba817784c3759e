"""C-RADIO at a tiny size: picture sizes, joins, freezing, batches, starting numbers."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from changenet_pairs import spec_data
from PIL import Image

from deft.changenet import backbones
from deft.changenet.backbones import radio
from deft.changenet.backbones.deformable import DeformableAttention
from deft.changenet.backbones.radio_vit import PatchGenerator, RadioBackbone, RadioSize
from deft.changenet.backbones.vit_adapter import AdapterSize, RadioAdapter
from deft.changenet.model import build_model
from deft.changenet.spec import from_dict
from deft.changenet.weights import save_weights
from deft.core.errors import HardStop
from deft.embedding.encoders import changenet
from deft.embedding.encoders.base import embed_pictures
from deft.embedding.encoders.torch_encoder import Options

NAME = "c_radio_v2_vit_base_patch16_224"
SIZE = RadioSize(width=16, depth=4, heads=2, max_input_px=256)
ADAPTER = AdapterSize(prior_width=4, heads=2)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Let the name stand for a tiny network."""
    monkeypatch.setitem(radio.SIZES, NAME, SIZE)
    monkeypatch.setattr(radio, "AdapterSize", partial(AdapterSize, prior_width=4, heads=2))
    assert NAME in backbones.NATIVE


def radio_data(learnable=True, lights=1, width=32, height=32, **dataset):
    data = spec_data(classify={"loss": "ce" if learnable else "contrastive"})
    data["model"]["backbone"] = {"type": NAME}
    data["model"]["classify"]["difference_module"] = "learnable" if learnable else "euclidean"
    data["dataset"]["classify"] |= {
        "num_input": lights,
        "input_map": {f"l{i}": i for i in range(lights)},
        "image_width": width,
        "image_height": height,
        **dataset,
    }
    return data


def scores(data, batch=2):
    torch.manual_seed(0)
    spec = from_dict(data)
    model = build_model(spec).eval()
    first, second = torch.randn(2, batch, 3, *spec.tensor_size)
    with torch.no_grad():
        return model.score(model(first, second)), spec.tensor_size


@pytest.mark.parametrize("learnable", [True, False])
@pytest.mark.parametrize(
    "dataset,size",
    [
        ({"lights": 1, "width": 48, "height": 48}, (48, 48)),  # an odd number of tokens
        ({"lights": 1, "width": 80, "height": 48}, (48, 80)),
        ({"lights": 4, "width": 32, "height": 32}, (128, 32)),  # linear: downwards
        ({"lights": 3, "width": 64, "height": 16}, (48, 64)),
        ({"lights": 4, "concat_type": "grid", "grid_map": {"x": 2, "y": 2}}, (64, 64)),
        ({"lights": 2, "concat_type": "grid", "grid_map": {"x": 2, "y": 1}}, (32, 64)),
    ],
)
def test_any_multiple_of_16(learnable, dataset, size):
    found, joined = scores(radio_data(learnable, **dataset))
    assert joined == size
    assert found.shape == (2,) and torch.isfinite(found).all()


def test_maps_have_the_strides(tiny):
    adapter = RadioAdapter(SIZE, ADAPTER).eval()
    with torch.no_grad():
        maps = adapter(torch.randn(1, 3, 48, 80))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (16, math.ceil(48 / stride), math.ceil(80 / stride)) for stride in (4, 8, 16, 32)
    ]


def test_positions_of_a_flat_picture_are_part_of_the_square_ones():
    generator = PatchGenerator(SIZE).eval()
    black = torch.zeros(1, 3, 64, 64)
    prefix = SIZE.prefix_tokens
    square = generator(black)[:, prefix:].unflatten(1, (4, 4))
    flat = generator(black[:, :, :32])[:, prefix:].unflatten(1, (2, 4))
    tall = generator(black[..., :32])[:, prefix:].unflatten(1, (4, 2))
    assert torch.equal(flat, square[:, :2]) and torch.equal(tall, square[:, :, :2])


def test_sides_and_strides_are_refused_in_words():
    with pytest.raises(HardStop, match="multiples of 16 pixels; the joined picture is 40 x 32"):
        from_dict(radio_data(width=40))
    data = radio_data()
    data["model"]["decode_head"]["feature_strides"] = [4, 8, 16, 16]
    with pytest.raises(HardStop, match=r"is \[4, 8, 16, 16\], but .* gives \[4, 8, 16, 32\]"):
        from_dict(data)
    data = radio_data(learnable=False)
    data["model"]["decode_head"]["feature_strides"] = [4, 8, 16, 16]
    from_dict(data)  # not read by the euclidean module


def test_summary_token_is_an_option():
    with_it, without = radio_data(), radio_data()
    with_it["model"]["decode_head"]["use_summary_token"] = True
    found = [build_model(from_dict(d)).model.backbone.state_dict() for d in (with_it, without)]
    extra = found[0].keys() - found[1].keys()
    assert len(extra) == 10 and all(k.startswith(("fc_summary.", "conv")) for k in extra)


def test_freezing_leaves_the_adapter_learning(tmp_path):
    path = tmp_path / "vit.pth"
    torch.save(RadioBackbone(SIZE).vit.state_dict(), path)
    data = radio_data()
    data["model"]["backbone"] |= {"freeze_backbone": True, "pretrained_backbone_path": str(path)}
    model = build_model(from_dict(data), backbone_file=path).train()
    backbone = model.model.backbone
    assert backbone.training and not any(m.training for m in backbone.radio.modules())
    assert backbone.spm.training and model.model.decoder.training
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad != name.startswith("model.backbone.radio."), name
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    output = model(*torch.randn(2, 4, 3, 32, 32))
    (output * torch.randn_like(output)).sum().backward()
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    after = backbone.state_dict()
    same = {k for k, v in before.items() if torch.equal(v, after[k])}
    assert {k for k in before if k.startswith("radio.")} <= same
    assert "level_embed" not in same and "up.weight" not in same


@pytest.mark.parametrize("learnable", [True, False])
def test_pairs_share_a_batch_in_evaluation_only(learnable, monkeypatch):
    model = build_model(from_dict(radio_data(learnable)))
    backbone = model.model.backbone
    assert not backbone.train().joint_batch and backbone.eval().joint_batch
    pictures = torch.randn(2, 3, 3, 32, 32)
    with torch.no_grad():
        joined = model.eval()(*pictures)
        monkeypatch.setattr(type(backbone), "joint_batch", False)
        apart = model(*pictures)
    assert (joined - apart).abs().max() < 1e-5


def test_training_positions_are_random_but_repeatable():
    generator = PatchGenerator(SIZE)
    pictures = torch.zeros(4, 3, 32, 48)

    def tokens(seed):
        torch.manual_seed(seed)
        return generator.train()(pictures)

    assert torch.equal(tokens(1), tokens(1)) and not torch.equal(tokens(1), tokens(2))
    assert not torch.equal(tokens(1)[0], tokens(1)[1])
    assert torch.equal(generator.eval()(pictures)[0], generator(pictures)[1])


def test_starting_numbers():
    torch.manual_seed(0)
    adapter = RadioAdapter(SIZE, ADAPTER)
    state = adapter.state_dict()
    assert all((v == 1e-5).all() for k, v in state.items() if k.endswith("ls.gamma"))
    assert state["level_embed"].std() > 0.5
    assert 0.015 < state["radio.radio.radio.model.blocks.0.mlp.fc1.weight"].std() < 0.025
    attention = next(m for m in adapter.modules() if isinstance(m, DeformableAttention))
    assert not attention.sampling_offsets.weight.any()
    bias = attention.sampling_offsets.bias.reshape(2, attention.n_levels, 4, 2)
    right = torch.tensor([[1.0, 0], [2, 0], [3, 0], [4, 0]])
    assert torch.allclose(bias[0], right.expand_as(bias[0]), atol=1e-6)
    assert torch.allclose(bias[1], -right.expand_as(bias[1]), atol=1e-5)
    assert torch.equal(attention.attention_weights.bias, torch.zeros(2 * attention.n_levels * 4))


@pytest.mark.parametrize("learnable", [True, False])
def test_encoder_takes_a_light_whose_sides_are_no_multiple(learnable, tmp_path):
    data = radio_data(learnable, lights=2, width=32, height=24)  # joined 48 x 32
    spec = from_dict(data)
    save_weights(tmp_path / "m.pth", build_model(spec), epoch=0, step=1)
    Image.fromarray(np.full((24, 32, 3), 90, np.uint8)).save(tmp_path / "a.png")
    encoder = changenet.build(spec, tmp_path / "m.pth", Options())
    vectors = embed_pictures(encoder, [tmp_path / "a.png"])
    assert vectors.shape == (1, 16) and np.isclose(np.linalg.norm(vectors), 1, atol=1e-5)
