import csv

import numpy as np
import pandas as pd
import pytest
import torch
from changenet_pairs import spec_data

from deft.changenet.infer import infer_table, shortest
from deft.changenet.model import build_model
from deft.changenet.spec import from_dict
from deft.changenet.weights import save_weights
from deft.core.errors import HardStop


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("w") / "m.pth"
    save_weights(path, build_model(from_dict(spec_data())), epoch=0, step=1)
    return path


def test_table_gains_one_column(spec, weights, workspace, tmp_path):
    table = pd.read_csv(workspace / "val.csv", dtype=str)
    table["note"] = ['a,"b"', "", "NA", "007", "1.50", " x", "é", "n"]
    table.to_csv(tmp_path / "in.csv", index=False)
    out = tmp_path / "out.csv"
    assert infer_table(spec, weights, tmp_path / "in.csv", workspace / "images", out) == 8
    with out.open(newline="") as handle:
        rows = list(csv.reader(handle))
    with (tmp_path / "in.csv").open(newline="") as handle:
        assert [row[:-1] for row in rows] == list(csv.reader(handle))
    assert rows[0][-1] == "siamese_score"
    assert b"\r" not in out.read_bytes()
    assert all(0 <= float(row[-1]) <= 1 for row in rows[1:])


@pytest.mark.parametrize("size", [1, 3, 8, 100])
def test_batch_size_does_not_matter(spec, weights, workspace, tmp_path, size):
    scores = []
    for batch in (None, size):
        out = tmp_path / "out.csv"
        infer_table(
            spec, weights, workspace / "val.csv", workspace / "images", out, batch_size=batch
        )
        scores.append(pd.read_csv(out)["siamese_score"])
    assert np.abs(scores[0] - scores[1]).max() < 1e-6


def test_scores_that_are_not_finite_stop(spec, workspace, tmp_path):
    model = build_model(spec)
    with torch.no_grad():
        model.model.decoder.classifier[6].bias.fill_(float("nan"))
    save_weights(tmp_path / "nan.pth", model, epoch=0, step=0)
    args = (spec, tmp_path / "nan.pth", workspace / "val.csv", workspace / "images")
    with pytest.raises(HardStop) as caught:
        infer_table(*args, tmp_path / "out.csv")
    assert caught.value.code == "score_invalid"
    assert caught.value.rows[:2] == [2, 3]
    assert not (tmp_path / "out.csv").exists()


def test_a_scored_table_is_refused(spec, weights, workspace, tmp_path):
    out = tmp_path / "out.csv"
    infer_table(spec, weights, workspace / "val.csv", workspace / "images", out)
    with pytest.raises(HardStop, match="already has a column"):
        infer_table(spec, weights, out, workspace / "images", tmp_path / "again.csv")


def test_shortest_form():
    assert shortest(np.float32(0.07226172)) == "0.07226172"
    assert shortest(np.float32(0.1)) == "0.1"
    assert shortest(np.float32(1)) == "1.0"
    assert shortest(np.float32(2.236068e-06)) == "2.236068e-06"
