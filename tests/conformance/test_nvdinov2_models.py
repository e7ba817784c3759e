"""NV-DINOv2: only TAO's key and parameter counts are known, so only these are compared."""

from __future__ import annotations

import pytest
import torch
from tao_reference import has, load_json

from deft.changenet.model import ChangeNet
from deft.changenet.spec import from_dict

NAMES = load_json("model/backbones.json") if has("model/backbones.json") else []
BUILT = [entry for entry in NAMES if entry.get("built") and "nvdinov2" in entry["name"]]


@pytest.mark.parametrize("entry", BUILT, ids=[e["difference_module"] for e in BUILT])
def test_key_and_parameter_counts(entry):
    learnable = entry["difference_module"] == "learnable"
    spec = from_dict(
        {
            "model": {
                "backbone": {"type": entry["name"]},
                "classify": {
                    "difference_module": entry["difference_module"],
                    "embed_dec": 30,
                },
                "decode_head": {"feature_strides": [4, 8, 16, 32]},
            },
            "dataset": {"classify": {"num_input": 1, "input_map": {"light": 0}}},
            "train": {"classify": {"loss": "ce" if learnable else "contrastive"}},
        }
    )
    with torch.device("meta"):
        network = ChangeNet(spec)
    assert len(network.state_dict()) == entry["n_keys"]
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert round(millions, 2) == entry["n_params_M"]
