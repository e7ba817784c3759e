"""Whole networks against TAO's: keys, every stage, output; and the counts of every name."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch
from tao_reference import LOGITS_TOLERANCE, has, keys_csv, load_json, load_npz, model_cases
from whole_models import built, case_spec, run, stage_differences

from deft.changenet.model import ChangeNet
from deft.changenet.spec import from_dict
from deft.changenet.spec.backbones import needs_of
from deft.core.errors import HardStop

pytestmark = pytest.mark.long

CASES = model_cases()
LONG = {"patched_learnable_radio_b_grid2x2_448"}  # a minute; its parts have shorter cases
RUN = [pytest.param(c, marks=[pytest.mark.slow] if c in LONG else []) for c in CASES]
STAGE_TOLERANCE = 1e-5  # of the stage's largest value
NAMES = load_json("model/backbones.json") if has("model/backbones.json") else []


@pytest.mark.parametrize("case", CASES)
def test_keys_shapes_and_types(case):
    with torch.device("meta"):
        state = ChangeNet(case_spec(case)).state_dict()
    found = [(k, tuple(v.shape), str(v.dtype).removeprefix("torch.")) for k, v in state.items()]
    assert found == keys_csv(case)


@pytest.mark.parametrize("case", RUN)
def test_output_and_stages(case):
    facts, recorded = load_json(f"model/{case}.json"), load_npz(f"model/{case}.npz")
    network = built(case)
    stages = list(dict.fromkeys(name.partition("#")[0] for name in facts["stages"]))
    output, found = run(case, network, stages)
    differences = stage_differences(found, recorded, facts["stages"])
    assert differences.keys() == facts["stages"].keys()
    assert max(differences.values()) <= STAGE_TOLERANCE, differences
    key = "logits" if facts.get("logits") else "score"
    assert np.abs(output.numpy() - recorded[key]).max() <= LOGITS_TOLERANCE
    assert np.abs(network.score(output).numpy() - recorded["score"]).max() <= LOGITS_TOLERANCE
    del network, found
    gc.collect()  # two networks of this size do not fit a small machine


def spec_of(entry):
    """Return the spec that a name was tried with."""
    needs = needs_of(entry["name"])
    learnable = entry["difference_module"] == "learnable"
    return from_dict(
        {
            "model": {
                "backbone": {"type": entry["name"]},
                "classify": {"difference_module": entry["difference_module"], "embed_dec": 30},
                "decode_head": {
                    "use_summary_token": True,
                    "feature_strides": list(needs.strides) if needs else [4, 8, 16, 32],
                },
            },
            "dataset": {"classify": {"num_input": 1, "input_map": {"light": 0}}},
            "train": {"classify": {"loss": "ce" if learnable else "contrastive"}},
        }
    )


@pytest.mark.parametrize("entry", NAMES, ids=lambda e: f"{e['name']}-{e['difference_module']}")
def test_every_name_that_was_tried(entry):
    """What TAO builds has its counts of keys and parameters; what it refuses is refused."""
    with torch.device("meta"):  # the huge ones cost nothing
        if not entry.get("built"):
            with pytest.raises(HardStop, match="model.backbone.type"):
                ChangeNet(spec_of(entry))
            return
        network = ChangeNet(spec_of(entry))
    assert len(network.state_dict()) == entry["n_keys"]
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert round(millions, 2) == entry["n_params_M"]
