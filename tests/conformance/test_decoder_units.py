"""Decoder parts, losses, schedule and sampler against TAO's reference numbers."""

import json

import numpy as np
import pandas as pd
import PIL
import pytest
import torch
from tao_reference import FOLDER, UNIT_TOLERANCE, fill, load_json, unit, unit_names

from deft.changenet.data import PairData, draw_epoch, sampling_weights
from deft.changenet.decoder import Decoder, Projection, difference
from deft.changenet.images import BICUBIC
from deft.changenet.losses import ContrastiveLoss, WeightedCrossEntropy, distance
from deft.changenet.schedule import learning_rate
from deft.changenet.spec import from_dict

DECODERS = [n for n in unit_names("decoder_") if "golden" not in n]
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


def test_sampler():
    for case in load_json("sampler_metrics/sampler_metrics.json")["sampler"]:
        labels = np.array([label != "PASS" for label in case["labels"]], np.float32)
        if labels.all() or not labels.any():
            continue
        weights = sampling_weights(labels, case["fpratio_sampling"])
        assert weights.tolist() == case["weights"]
        order = draw_epoch(weights, torch.Generator().manual_seed(0))
        assert order.tolist() == case["first_epoch_indices_with_torch_manual_seed_0"]


def loader_cases():
    path = FOLDER / "dataset/tensors/dataset_cases.json"
    if not path.is_file():
        return []
    cases = json.loads(path.read_text())["cases"]
    # With random augmentation only the certain changes can be compared.
    return [name for name in cases if "everything" not in name]


@pytest.mark.parametrize("name", loader_cases())
def test_loader(name):
    case = load_json("dataset/tensors/dataset_cases.json")["cases"][name]
    new_pillow = int(PIL.__version__.split(".")[0]) >= 13
    folder = FOLDER / "dataset" / ("tensors_pillow13" if new_pillow else "tensors")
    if not (folder / f"{name}.npz").is_file():
        pytest.skip("this case is described without its tensors")
    arrays = np.load(folder / f"{name}.npz")
    # engine tao: sizes such as 24 x 32 are no whole number of TAO's coarse strides.
    spec = from_dict({"dataset": {"classify": case["config"]}}, engine="tao")
    table = pd.read_csv(FOLDER / "dataset/pairs.csv", dtype=str, keep_default_na=False)
    training = name.startswith("train_")
    data = PairData(spec, table, FOLDER / "dataset/images", training=training)
    batch = data.batch(range(len(table)))
    assert np.array_equal(batch.label.numpy(), arrays["label"])
    assert data.augmented == (data.resample == BICUBIC)
    assert np.abs(batch.test.numpy() - arrays["img0"]).max() < 1e-6
    assert np.abs(batch.golden.numpy() - arrays["img1"]).max() < 1e-6
