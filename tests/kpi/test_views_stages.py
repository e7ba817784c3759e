"""Inference writes down the scores of further views where that is cheap; evaluation compares."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from stage_calls import evaluate, infer
from tiny_workspace import make_tiny_workspace

from deft.changenet.infer import score_table
from deft.changenet.model import build_model
from deft.changenet.weights import save_weights, weights_name
from deft.core.files import sha256_file, write_json_atomic
from deft.core.layout import KPI_TABLE, Run
from deft.stages.context import Context

ROWS, EPOCHS = 200, 2


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Context:
    """A phase whose training is a file of drawn weights, twenty times the KPI set's passes."""
    folder = tmp_path_factory.mktemp("views") / "w"
    workspace = make_tiny_workspace(folder, base=6, validation=6, kpi=20, pool=6, pregen=2)
    context = Context(Run(workspace, "run_a"))
    train = context.run.phase("baseline") / "train"
    train.mkdir(parents=True)
    torch.manual_seed(0)
    name = weights_name(1, 8)
    save_weights(train / name, build_model(context.spec), epoch=1, step=8)
    told = {"path": name, "epoch": 1, "val_loss": 0.5, "sha256": sha256_file(train / name)}
    table = {"files": [told], "best_val": name, "latest": name, "rows": ROWS, "epochs": EPOCHS}
    write_json_atomic(train / "weights.json", {"phase": "baseline", **table})
    return context


def inferred(context: Context, **more) -> tuple[str, dict, np.ndarray]:
    """Return the summary, the record and the scores in the table."""
    told = infer(context, "baseline", device="cpu", threads=1, **more)
    folder = context.run.phase("baseline") / "inference"
    scores = pd.read_csv(folder / "latest/inference.csv")["siamese_score"].to_numpy(np.float32)
    return told, json.loads((folder / "inference.json").read_text()), scores


def wanted(context: Context, views: str) -> np.ndarray:
    train = context.run.phase("baseline") / "train"
    weights = train / json.loads((train / "weights.json").read_text())["latest"]
    table = context.workspace / KPI_TABLE
    return score_table(context.spec, weights, table, context.image_root, views=views)[0]


# Turns take three passes more a KPI part, a training three a row and epoch.
SHARE = 20 / (ROWS * EPOCHS)


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_turns_are_scored_beside_where_they_are_cheap(made, runtime):
    passes = 3 if runtime == "torch" else 4  # torch has the first on the way
    limit = SHARE * passes / 3 + 1e-6
    told, record, scores = inferred(made, share=limit, runtime=runtime)
    assert scores == pytest.approx(wanted(made, "one"), abs=2e-6)
    kind = record["kinds"]["latest"]
    assert kind["views"]["turns"]["passes"] == 4 and "not by" not in told
    found = np.array(kind["views"]["turns"]["scores"], np.float32)
    assert found == pytest.approx(wanted(made, "turns"), abs=2e-6)
    assert record["kinds"]["best_val"]["views"] == kind["views"]  # equal weights
    assert record["other_views"]["share"] == pytest.approx(SHARE * passes / 3, abs=1e-6)


def test_where_they_are_dear_the_summary_says_so(made):
    before = inferred(made, share=1.0)[2]
    told, record, scores = inferred(made, share=0.04)
    assert record["kinds"]["latest"]["views"] == {} and np.array_equal(before, scores)
    assert "not by turns: 5% of the training (score_views_share is 4%)" in told
    assert "not by" not in inferred(made, share=0)[0]  # asked for nothing


def test_by_turns_the_score_is_their_mean_and_one_view_is_told(made):
    _, record, scores = inferred(made, share=0, views="turns")
    assert np.array_equal(scores, wanted(made, "turns")) and record["score_views"] == "turns"
    one = np.array(record["kinds"]["latest"]["views"]["one"]["scores"], np.float32)
    assert np.array_equal(one, wanted(made, "one"))
    told = evaluate(made, "baseline", 1.0)
    metrics = json.loads((made.run.phase("baseline") / "metrics.json").read_text())
    assert metrics["score_views"] == "turns" and list(metrics["views"]) == ["one", "turns"]
    point = metrics["kinds"][metrics["chosen"]]["recall_point"]
    assert metrics["views"]["turns"]["recall_point"] == point
    assert told.endswith("%, 4 × the scoring time") and "turns: FAR " in told


def test_weights_of_another_tool_have_no_training_to_compare_with(made):
    record = made.run.phase("baseline") / "train/weights.json"
    table = json.loads(record.read_text())
    try:
        write_json_atomic(record, {k: v for k, v in table.items() if k != "epochs"})
        told, found, _ = inferred(made, share=1.0)
    finally:
        write_json_atomic(record, table)
    assert found["kinds"]["latest"]["views"] == {} and "not by" not in told


def test_the_files_are_the_same_each_time(made):
    path = Path(made.run.phase("baseline") / "inference/inference.json")
    inferred(made, share=1.0)
    first = path.read_bytes()
    inferred(made, share=1.0)
    assert path.read_bytes() == first
