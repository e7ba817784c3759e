"""Decoder parts, losses and schedule against TAO's reference numbers."""

import numpy as np
import pytest
import torch
from tao_reference import UNIT_TOLERANCE, fill, load_json, unit, unit_names

from deft.changenet.decoder import Decoder, Projection, difference
from deft.changenet.losses import ContrastiveLoss, WeightedCrossEntropy, distance
from deft.changenet.spec import from_dict
from deft.changenet.training.schedule import learning_rate

DECODERS = unit_names("decoder_")
PARTS = {"conv_diff": lambda: difference(16, 8), "mlp": lambda: Projection(12, 8)}


@pytest.mark.parametrize("name", DECODERS)
def test_decoder(name):
    facts, arrays = unit(name)
    options = dict(facts["ctor"])
    decoder = Decoder(options.pop("in_channels"), **options)
    assert fill(decoder, facts["fill_prefix"]) == facts["keys"]
    sides = [[torch.from_numpy(arrays[f"{s}{k}"]) for k in (1, 2, 3, 4)] for s in "ab"]
    with torch.no_grad():
        logits = decoder(*sides).numpy()
    assert np.abs(logits - arrays["logits"]).max() < UNIT_TOLERANCE


@pytest.mark.parametrize("name", [n for n in unit_names() if n in PARTS])
def test_decoder_parts(name):
    facts, arrays = unit(name)
    module = PARTS[name]()
    assert fill(module, facts["fill_prefix"]) == facts["keys"]
    with torch.no_grad():
        out = module(torch.from_numpy(arrays["x"])).numpy()
    assert np.abs(out - arrays["out"]).max() < UNIT_TOLERANCE


def test_cross_entropy():
    for case in load_json("loss/loss_and_lr.json")["ce"]["cases"]:
        criterion = WeightedCrossEntropy(weight=torch.tensor(case["cls_weight"]))
        logits = torch.tensor(case["logits"], requires_grad=True)
        loss = criterion(logits, torch.tensor(case["label"]))
        loss.backward()
        assert loss.item() == pytest.approx(case["loss"], abs=UNIT_TOLERANCE)
        assert np.abs(logits.grad.numpy() - np.array(case["grad_logits"])).max() < UNIT_TOLERANCE


def test_contrastive_both_forms():
    for case in load_json("loss/loss_and_lr.json")["contrastive"]["cases"]:
        for compat, what in ((True, "upstream_training"), (False, "elementwise")):
            found = torch.tensor(case["distance"], requires_grad=True)
            criterion = ContrastiveLoss(case["margin"], upstream_compat=compat)
            loss = criterion(found, torch.tensor(case["label"]))
            loss.backward()
            assert loss.item() == pytest.approx(case[f"loss_{what}"], abs=UNIT_TOLERANCE)
            wanted = np.array(case[f"grad_{what}"])
            assert np.abs(found.grad.numpy() - wanted).max() < UNIT_TOLERANCE


def test_distance():
    case = load_json("loss/loss_and_lr.json")["pairwise_distance"]
    out = distance(torch.tensor(case["a"]), torch.tensor(case["b"]))
    assert np.allclose(out.numpy(), case["out"], rtol=1e-5, atol=1e-9)


def test_learning_rate_tables():
    for name, case in load_json("loss/loss_and_lr.json")["lr_schedule"].items():
        policy, optim, epochs = name.split("/")
        train = {
            "num_epochs": int(epochs.removeprefix("num_epochs=")),
            "optim": {"lr": case["base_lr"], "policy": policy, "optim": optim},
        }
        spec = from_dict({"train": train}, engine="tao")
        for epoch, rate in enumerate(case["lr_at_epoch"]):
            assert learning_rate(spec, epoch) == pytest.approx(rate, rel=1e-9), name
