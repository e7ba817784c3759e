"""Figures of a training: where scores are cut, what percentages are of, the validation loss."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from changenet_pairs import spec_data
from training_runs import run

from deft.changenet.data.pairs import open_pairs
from deft.changenet.model import build_model
from deft.changenet.scoring import outputs
from deft.changenet.spec import from_dict
from deft.changenet.training.validate import cut_of, rates, validate

CPU = torch.device("cpu")


def test_margin_of_training_figures(spec, euclidean):
    learnable, distance = build_model(spec), build_model(euclidean)
    assert cut_of(learnable, 2.0) == 0.5
    assert cut_of(learnable, 0.3) == 0.3
    assert cut_of(distance, 1.4) == 1.4
    for model in (learnable, distance):
        assert cut_of(model, 0.3, upstream_compat=True) == 2.0


def test_rates_with_both_denominators():
    scores = np.array([0.9, 0.2, 0.6, 0.1], np.float32)
    found = rates(scores, np.array([0, 0, 0, 1], np.float32), 0.5)
    assert found["fpr"] == 50.0, "TAO divides by all rows"
    assert found["far_pct"] == pytest.approx(200 / 3), "ours by good rows"


def test_upstream_compat_counts_every_part_as_good(workspace, tmp_path):
    spec = from_dict(spec_data(num_epochs=1))
    run(spec, workspace, tmp_path, upstream_compat=True)
    lines = [json.loads(x) for x in (tmp_path / "out/status.json").read_text().splitlines()]
    kpi = next(x["kpi"] for x in lines if x["message"] == "Eval metrics generated.")
    good = (pd.read_csv(workspace / "val.csv")["label"] == "PASS").mean()
    assert (kpi["val_acc"], kpi["val_fpr"]) == (pytest.approx(100 * good), 0.0)
    assert (kpi["val_far_pct"], kpi["val_recall_pct"]) == (0.0, 0.0)


def test_validation_loss_of_the_table_or_of_batches(workspace, spec):
    torch.manual_seed(0)
    model = build_model(spec)
    data = open_pairs(spec, workspace / "val.csv", workspace / "images")
    out = outputs(model, data, 6, CPU)
    label = torch.from_numpy(data.labels)[:, None]
    with torch.no_grad():
        whole = float(model.criterion(out, label))
        first, rest = (float(model.criterion(out[s], label[s])) for s in (slice(6), slice(6, 8)))
    assert validate(model, data, CPU)["val_loss"] == pytest.approx(whole, rel=1e-6)
    compat = validate(model, data, CPU, upstream_compat=True)["val_loss"]
    assert compat == pytest.approx((6 * first + 2 * rest) / 8, rel=1e-6)
    assert compat != pytest.approx(whole, rel=1e-4)
