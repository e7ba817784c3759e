"""Whole C-RADIO networks against the numbers of TAO's public code."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch
from tao_reference import LOGITS_TOLERANCE, has, keys_csv, load_json, load_npz, model_cases
from whole_models import backbone_of, built, case_spec, run, stage_differences

from deft.changenet.model import ChangeNet
from deft.changenet.spec import from_dict

CASES = [case for case in model_cases() if backbone_of(case).startswith("c_radio")]
STAGE_TOLERANCE = 1e-5  # of the stage's largest value
FIT = "io/run_learnable.json"  # a training with a frozen backbone
NAMES = load_json("model/backbones.json") if has("model/backbones.json") else []
BUILT = [entry for entry in NAMES if entry.get("built") and entry["name"].startswith("c_radio")]


@pytest.mark.parametrize("case", CASES)
def test_keys_shapes_and_types(case):
    with torch.device("meta"):
        state = ChangeNet(case_spec(case)).state_dict()
    found = [(k, tuple(v.shape), str(v.dtype).removeprefix("torch.")) for k, v in state.items()]
    assert found == keys_csv(case)


@pytest.mark.parametrize("case", CASES)
def test_output_and_stages(case):
    facts, recorded = load_json(f"model/{case}.json"), load_npz(f"model/{case}.npz")
    network = built(case)
    stages = list(dict.fromkeys(name.partition("#")[0] for name in facts["stages"]))
    output, found = run(case, network, stages)
    differences = stage_differences(found, recorded, facts["stages"])
    assert differences.keys() == facts["stages"].keys()
    assert max(differences.values()) <= STAGE_TOLERANCE, differences
    key = "logits" if facts["logits"] else "score"
    assert np.abs(output.numpy() - recorded[key]).max() <= LOGITS_TOLERANCE
    assert np.abs(network.score(output).numpy() - recorded["score"]).max() <= LOGITS_TOLERANCE
    del network, found
    gc.collect()  # two networks of this size do not fit a small machine


@pytest.mark.parametrize(
    "entry", BUILT, ids=[f"{e['name']}-{e['difference_module']}" for e in BUILT]
)
def test_key_and_parameter_counts_of_every_name(entry):
    learnable = entry["difference_module"] == "learnable"
    data = {
        "model": {
            "backbone": {"type": entry["name"]},
            "classify": {"difference_module": entry["difference_module"], "embed_dec": 30},
            "decode_head": {"use_summary_token": True, "feature_strides": [4, 8, 16, 32]},
        },
        "dataset": {"classify": {"num_input": 1, "input_map": {"light": 0}}},
        "train": {"classify": {"loss": "ce" if learnable else "contrastive"}},
    }
    spec = from_dict(data)
    with torch.device("meta"):  # the huge ones cost nothing
        network = ChangeNet(spec)
    assert len(network.state_dict()) == entry["n_keys"]
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert round(millions, 2) == entry["n_params_M"]


@pytest.mark.skipif(not has(FIT), reason=f"the vectors in use do not hold {FIT}")
def test_freeze_backbone_freezes_the_transformer_alone():
    frozen = load_json(FIT)["frozen"]
    spec = case_spec("learnable_radio_b_224")
    spec.model.backbone.freeze_backbone = True
    with torch.device("meta"):
        network = ChangeNet(spec)
    parts: dict[bool, list[str]] = {True: [], False: []}
    for name, parameter in network.named_parameters():
        parts[parameter.requires_grad].append(name)
    assert (len(parts[True]), len(parts[False])) == (frozen["n_trainable"], frozen["n_frozen"])
    for trained, key in ((True, "trainable_prefixes"), (False, "frozen_prefixes")):
        assert sorted({".".join(name.split(".")[:3]) for name in parts[trained]}) == frozen[key]
    flags = load_json(FIT)["training_flags_in_train_batch"][0]
    backbone = network.train().model.backbone
    assert backbone.training == flags["backbone"] and network.training == flags["module"]
    assert backbone.radio.training == flags["radio"]
    assert backbone.radio.vit.patch_generator.training == flags["radio_patch_generator"]
    assert network.model.decoder.training == flags["decoder"]
