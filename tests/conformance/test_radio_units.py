"""C-RADIO's building blocks against the numbers of TAO's public code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tao_reference import UNIT_TOLERANCE, fill, picture, spread, unit, unit_names

from deft.changenet.backbones.adapter_parts import ConvFFN, SpatialPrior, map_sizes
from deft.changenet.backbones.deformable import DeformableAttention, cell_centres
from deft.changenet.backbones.radio_vit import PatchGenerator, RadioBackbone, RadioSize
from deft.changenet.backbones.vit_adapter import AdapterSize, Interaction, RadioAdapter

TINY = RadioSize(width=32, depth=4, heads=4)
SMALL = AdapterSize(prior_width=8, heads=4)
GENERATOR = RadioSize(width=8, depth=0, heads=1, patch_px=4, max_input_px=64)


def known(name: str):
    """Return a unit's facts and its arrays as tensors, or skip where the folder lacks it."""
    if name not in unit_names():
        pytest.skip(f"the vectors in use do not hold units/{name}")
    facts, arrays = unit(name)
    return facts, {key: torch.from_numpy(value) for key, value in arrays.items()}


def assert_keys(module: torch.nn.Module, facts: dict) -> None:
    """Fill the module and compare its keys, in order, with the recorded ones."""
    assert fill(module, facts["fill_prefix"]) == facts["keys"]


def assert_near(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """Equal shape and every value within 1e-5; recorded samples are compared with samples."""
    found = found.detach()
    if found.shape != wanted.shape:
        assert wanted.ndim == 1
        found = torch.from_numpy(spread(found, len(wanted)))
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max().item() <= UNIT_TOLERANCE


def test_deformable_attention():
    facts, arrays = known("msdeformattn")
    module = DeformableAttention(**facts["ctor"])
    assert_keys(module, facts)
    sizes = [tuple(row) for row in arrays["spatial_shapes"].tolist()]
    points = arrays["reference_points"][0, :, 0]
    assert_near(module(arrays["query"], points, arrays["value"], sizes), arrays["out"])


@pytest.mark.parametrize("name", unit_names("deform_inputs_"))
def test_places_and_sizes_of_the_attention(name):
    _, arrays = known(name)
    height, width = map(int, name.rpartition("_")[2].split("x"))
    sizes = map_sizes(height, width)
    assert [list(size) for size in sizes] == arrays["shapes1"].tolist()
    assert [list(sizes[1])] == arrays["shapes2"].tolist()
    like = torch.zeros(1)
    assert_near(cell_centres(sizes[1:2], like), arrays["ref1"][0, :, 0])
    assert_near(cell_centres(sizes, like), arrays["ref2"][0, :, 0])


def test_convolutional_feed_forward():
    facts, arrays = known("convffn")
    module = ConvFFN(32, 8)
    assert_keys(module, facts)
    side_px = facts["H"] * 16
    assert_near(module(arrays["x"], map_sizes(side_px, facts["W"] * 16)), arrays["out"])


def test_spatial_prior():
    facts, arrays = known("spatial_prior")
    module = SpatialPrior(**facts["ctor"])
    assert_keys(module, facts)
    for name, found in zip(("c1", "c2", "c3", "c4"), module(arrays["x"]), strict=True):
        assert_near(found, arrays[name])


@pytest.mark.parametrize("name", unit_names("interaction_"))
def test_interaction(name):
    facts, arrays = known(name)
    module = Interaction(32, SMALL, extra=2 if "extra1" in name else 0)
    assert_keys(module, facts)
    sizes = map_sizes(facts["H"] * 16, facts["W"] * 16)
    x, c = module(arrays["x"], arrays["c"], [], facts["num_summary"], sizes)
    assert_near(x, arrays["x_out"])
    assert_near(c, arrays["c_out"])


def test_patch_generator():
    facts, arrays = known("patch_generator_eval")
    module = PatchGenerator(GENERATOR)
    assert_keys(module, facts)
    assert GENERATOR.prefix_tokens == facts["facts"]["num_skip"]
    sizes = [name.removeprefix("x_") for name in arrays if name.startswith("x_")]
    assert sizes
    for size in sizes:
        assert_near(module(arrays[f"x_{size}"]), arrays[f"out_{size}"])


def test_patch_generator_in_training_draws_as_upstream():
    facts, arrays = known("patch_generator_train_seed0")
    module = PatchGenerator(GENERATOR)
    assert_keys(module, facts)
    module.train()
    torch.manual_seed(0)
    assert_near(module(arrays["x"]), arrays["out"])


def test_transformer_blocks_on_tiny_input():
    facts, arrays = known("vit_blocks_tiny_input")
    blocks = RadioBackbone(TINY).vit.blocks
    assert_keys(blocks, facts)
    tokens = arrays["x"]
    for block in blocks:
        tokens = block(tokens)
    assert_near(tokens, arrays["out"])


def test_tiny_transformer():
    facts, arrays = known("tiny_radio_224")
    module = RadioBackbone(TINY)
    assert_keys(module, facts)
    pictures = picture(101, 2, 224, 224)
    assert_near(module.embedding(pictures), arrays["summary"])
    features = module.vit(pictures)[:, TINY.prefix_tokens :]
    assert list(features.shape) == arrays["features_shape"].tolist()
    assert_near(features, arrays["features"])


def test_tiny_adapter():
    facts, arrays = known("tiny_cradio_adapter_224")
    module = RadioAdapter(TINY, SMALL)
    assert_keys(module, facts)
    with torch.no_grad():
        maps = module(picture(101, 2, 224, 224))
    for level, found in enumerate(maps, start=1):
        assert list(found.shape) == arrays[f"f{level}_shape"].tolist()
        assert_near(found, arrays[f"f{level}"])
        np.testing.assert_allclose(
            found.mean().item(), facts["stats"][f"f{level}"]["mean"], atol=UNIT_TOLERANCE
        )
