"""``freeze_backbone`` against a training of TAO's with a frozen backbone."""

from __future__ import annotations

import pytest
import torch
from tao_reference import has, load_json
from whole_models import case_spec

from deft.changenet.model import ChangeNet

FIT = "io/run_learnable.json"


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
