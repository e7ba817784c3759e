"""Files for ``pretrained_backbone_path``: layouts read, and what is refused with which words."""

import pytest
import torch
from safetensors.torch import save_file

from deft.changenet.backbones.radio_vit import RadioBackbone, RadioSize
from deft.changenet.backbones.vit_adapter import AdapterSize, RadioAdapter
from deft.core.errors import HardStop

SIZE = RadioSize(width=16, depth=4, heads=2, max_input_px=128)
ADAPTER = AdapterSize(prior_width=4, heads=2)


def published(backbone):
    """Return a state in the layout of the published files, with what stands beside the model."""
    state = {f"radio_model.model.{k}": v.clone() for k, v in backbone.vit.state_dict().items()}
    state["radio_model.input_conditioner.norm_mean"] = torch.zeros(3, 1, 1)
    state["radio_model.input_conditioner.norm_std"] = torch.ones(3, 1, 1)
    state["radio_model.summary_idxs"] = torch.tensor([0, 1, 2])
    return state


def same(first, second):
    other = second.state_dict()
    return all(torch.equal(value, other[name]) for name, value in first.state_dict().items())


@pytest.fixture
def source():
    torch.manual_seed(1)
    return RadioBackbone(SIZE)


def refusal(path, backbone=None):
    backbone = backbone or RadioBackbone(SIZE)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    with pytest.raises(HardStop) as stop:
        backbone.load_pretrained(path)
    after = backbone.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert str(stop.value.file) == str(path) and "\n" not in stop.value.message
    return stop.value


def test_published_layout(source, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(published(source), path)
    backbone = RadioBackbone(SIZE)
    unused = backbone.load_pretrained(path)
    assert same(source, backbone)
    assert len(unused) == 3


def test_adapter_keeps_its_own_numbers(source, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(published(source), path)
    adapter = RadioAdapter(SIZE, ADAPTER)
    before = {k: v.clone() for k, v in adapter.state_dict().items() if not k.startswith("radio.")}
    adapter.load_pretrained(path)
    assert same(source, adapter.radio)
    after = adapter.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_wrapped_and_flat(source, tmp_path, wrapper):
    path = tmp_path / "backbone.pth"
    state = published(source)
    torch.save({wrapper: state} if wrapper else state, path)
    backbone = RadioBackbone(SIZE)
    backbone.load_pretrained(path)
    assert same(source, backbone)


def test_tao_classification_checkpoint(source, tmp_path):
    path = tmp_path / "classifier_model_latest.pth"
    state = {f"model.radio.radio.model.{k}": v for k, v in source.vit.state_dict().items()}
    state["model.fc.weight"] = torch.zeros(4, 48)
    torch.save({"epoch": 3, "state_dict": state, "tao_model": "classification"}, path)
    backbone = RadioBackbone(SIZE)
    assert backbone.load_pretrained(path) == ["fc.weight"]
    assert same(source, backbone)


def test_half_precision_and_another_table(source, tmp_path):
    big = RadioBackbone(RadioSize(width=16, depth=4, heads=2, max_input_px=256))
    path = tmp_path / "model.safetensors"
    save_file({k: v.bfloat16() for k, v in published(big).items()}, path)
    backbone = RadioBackbone(SIZE)
    backbone.load_pretrained(path)
    assert backbone.vit.patch_generator.pos_embed.dtype == torch.float32
    assert torch.equal(backbone.vit.blocks[0].norm1.weight, big.vit.blocks[0].norm1.weight)
    corner = backbone.vit.patch_generator.pos_embed[0, 0]
    wanted = big.vit.patch_generator.pos_embed[0, 0]  # corners stay where they are
    assert (corner - wanted).abs().max() < 0.01


def test_changenet_checkpoint_is_refused(source, tmp_path):
    path = tmp_path / "model_epoch_000_step_00001.pth"
    data = {"state_dict": published(source), "tao_model": "visual_changenet_classify"}
    torch.save(data, path)
    stop = refusal(path)
    assert "visual_changenet_classify" in stop.message
    assert "train.pretrained_model_path" in stop.fix


def test_missing_extra_and_misshapen_are_named(source, tmp_path):
    state = published(source)
    del state["radio_model.model.blocks.1.attn.qkv.bias"]
    state["radio_model.model.blocks.0.ls1.gamma"] = torch.ones(16)
    state["radio_model.model.blocks.2.norm1.weight"] = torch.ones(8)
    path = tmp_path / "model.safetensors"
    save_file(state, path)
    stop = refusal(path)
    assert stop.code == "spec_invalid"
    assert "1 missing (blocks.1.attn.qkv.bias)" in stop.message
    assert "1 extra (blocks.0.ls1.gamma)" in stop.message
    assert "1 misshapen (blocks.2.norm1.weight (8,) instead of (16,))" in stop.message


def test_layer_scales_by_their_other_name(source, tmp_path):
    state = published(source) | {"radio_model.model.blocks.0.ls1.grandma": torch.ones(16)}
    path = tmp_path / "model.safetensors"
    save_file(state, path)
    assert "blocks.0.ls1.gamma" in refusal(path).message


def test_deeper_model_is_refused(tmp_path):
    deep = RadioBackbone(RadioSize(width=16, depth=5, heads=2, max_input_px=128))
    path = tmp_path / "model.safetensors"
    save_file(published(deep), path)
    assert "12 extra (blocks.4." in refusal(path).message


@pytest.mark.parametrize("lacking", ["pos_embed", "embedder.weight"])
def test_without_a_table(source, tmp_path, lacking):
    state = {k: v for k, v in published(source).items() if not k.endswith(lacking)}
    path = tmp_path / "model.safetensors"
    save_file(state, path)
    assert lacking in refusal(path).message


def test_unknown_prefix(source, tmp_path):
    path = tmp_path / "backbone.pth"
    torch.save({f"foo.{k}": v for k, v in source.vit.state_dict().items()}, path)
    stop = refusal(path)
    assert "foo.blocks.0.norm1.weight" in stop.message and "radio_model.model." in stop.fix


def test_token_count(source, tmp_path):
    state = published(source)
    state["radio_model.model.patch_generator.cls_token.token"] = torch.zeros(10, 16)
    path = tmp_path / "model.safetensors"
    save_file(state, path)
    assert "10 class and register tokens instead of 8" in refusal(path).message


def test_table_that_is_no_square(source, tmp_path):
    state = published(source)
    state["radio_model.model.patch_generator.pos_embed"] = torch.zeros(1, 60, 16)
    path = tmp_path / "model.safetensors"
    save_file(state, path)
    assert "60 places" in refusal(path).message


def test_absent_broken_and_pickled(tmp_path):
    assert refusal(tmp_path / "absent.pth").code == "missing_input"
    assert refusal(tmp_path / "absent.safetensors").code == "missing_input"
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not a file of tensors")
    assert refusal(broken).code == "spec_invalid"
    code = tmp_path / "code.pth"
    torch.save({"model": torch.nn.Linear(1, 1)}, code)
    assert "more than tensors" in refusal(code).message
