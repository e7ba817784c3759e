"""Which backbone files are read, against what TAO's public code did with the same files."""

from __future__ import annotations

import pytest
import torch
from tao_reference import UNIT_TOLERANCE, filled, has, load_json, unit, unit_names

from deft.changenet.backbones import pretrained
from deft.changenet.backbones.radio_vit import RadioSize, RadioViT
from deft.core.errors import HardStop

RULES = load_json("io/backbone_file_rules.json") if has("io/backbone_file_rules.json") else {}
SIZE = RadioSize(width=16, depth=2, heads=2, max_input_px=2048)
CLEANER = list(RULES.get("prefix_cleaner", {}).items())
CHECKPOINTS = [name for name in RULES if "/" in name]  # task/type
FILES = [name for name in RULES if name not in CHECKPOINTS and name != "prefix_cleaner"]


def named(rule: str) -> dict[str, torch.Tensor]:
    """Return the file that a recorded rule speaks of, for a small transformer."""
    state = RadioViT(SIZE).state_dict()
    if rule.startswith("prefix "):
        return {rule.removeprefix("prefix ") + name: value for name, value in state.items()}
    if rule.startswith("unknown prefix "):
        return {rule.removeprefix("unknown prefix ") + name: value for name, value in state.items()}
    if rule.startswith("without "):
        lacking = rule.removeprefix("without ")
        return {name: value for name, value in state.items() if not name.endswith(lacking)}
    if rule == "no prefix":
        return state
    if rule.startswith("pos_embed "):
        side = int(rule.partition("x")[2])
        return state | {pretrained.TABLE: torch.randn(1, side * side, SIZE.width)}
    rows = int(rule.removeprefix("cls_token ").removesuffix(" rows"))
    return state | {pretrained.PREFIX_TOKENS: torch.randn(rows, SIZE.width)}


@pytest.mark.parametrize("rule", FILES)
def test_file(rule, tmp_path):
    path = tmp_path / "backbone.pth"
    file = named(rule)
    torch.save(file, path)
    vit = RadioViT(SIZE)
    recorded = RULES[rule]
    if isinstance(recorded, dict) and recorded["missing"] == 0:
        assert pretrained.load_radio(vit, path) == recorded["unexpected"] == []
        loaded = vit.state_dict()
        for name, value in pretrained.radio_names(file).items():
            if value.shape == loaded[name].shape:
                assert torch.equal(value, loaded[name]), name
        return
    # An error upstream, or a missing tensor that upstream only logs.
    before = {name: value.clone() for name, value in vit.state_dict().items()}
    with pytest.raises(HardStop) as stop:
        pretrained.load_radio(vit, path)
    assert stop.value.code == "spec_invalid" and "\n" not in stop.value.message
    if rule.startswith("without "):
        assert rule.removeprefix("without ") in stop.value.message
        assert "missing" in stop.value.message
    after = vit.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize("rule", CHECKPOINTS)
def test_tao_checkpoint(rule, tmp_path):
    task, _, model_type = rule.partition("/")
    path = tmp_path / "model_epoch_000_step_00001.pth"
    data = {
        "epoch": 0,
        "pytorch-lightning_version": "2.5.0.post0",
        "state_dict": {"model.radio.x": torch.ones(1)},
        "tao_model": task,
    }
    if model_type != "None":
        data["tao_model_type"] = model_type
    torch.save(data, path)
    if isinstance(RULES[rule], list):
        assert list(pretrained.read_backbone_file(path)) == RULES[rule]
    else:
        with pytest.raises(HardStop, match=task):
            pretrained.read_backbone_file(path)


@pytest.mark.parametrize("given,wanted", CLEANER, ids=[given for given, _ in CLEANER])
def test_prefix_cleaner(given, wanted):
    assert list(pretrained.cleaned({given: 0})) == wanted


def test_position_table_of_another_size(tmp_path):
    name = "patch_generator_load_resample"
    if name not in unit_names():
        pytest.skip(f"the vectors in use do not hold units/{name}")
    facts, arrays = unit(name)
    key = facts["src_fill_prefix"] + "pos_embed"
    source = torch.from_numpy(filled(key, arrays["src"].shape))
    assert torch.equal(source, torch.from_numpy(arrays["src"]))
    found = pretrained.resampled_table(source, arrays["dst"].shape[1], tmp_path)
    assert (found - torch.from_numpy(arrays["dst"])).abs().max() <= UNIT_TOLERANCE
