"""The project's own network: weights with their spec, and the hand-off's ONNX folder."""

from __future__ import annotations

import re
import shutil

import explore_tools as tools
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from tiny_workspace import make_tiny_workspace

from deft.changenet.data.pairs import open_pairs
from deft.changenet.infer import score_table
from deft.changenet.model import build_model
from deft.changenet.onnx import bundle
from deft.changenet.onnx.export import export_onnx
from deft.changenet.spec import load_spec
from deft.changenet.weights import save_weights
from deft.core.errors import HardStop
from deft.core.files import sha256_file, write_json_atomic
from model_explorer.request import Request
from model_explorer.sidecars import identity
from model_explorer.table_rows import boards, known_to_the_loop, pairs_in_turn

THRESHOLD = 0.47


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A workspace with a run's best weights, ``best_model.json`` and ``best_model/``."""
    workspace = make_tiny_workspace(tmp_path_factory.mktemp("ws"), base=4, validation=4, pool=4)
    spec = load_spec(workspace / "specs/baseline_spec.yaml")
    folder = workspace / "results/run_a"
    weights = folder / "iter1/train/model_epoch_001_step_00004.pth"
    weights.parent.mkdir(parents=True)
    torch.manual_seed(3)
    save_weights(weights, build_model(spec), epoch=1, step=4)
    (weights.parent / "experiment.yaml").write_text(
        (workspace / "specs/baseline_spec.yaml").read_text()
    )
    facts = {"threshold": THRESHOLD, "checkpoint_sha256": sha256_file(weights), "run": "run_a"}
    write_json_atomic(folder / "best_model.json", facts)
    exported = export_onnx(spec, weights, folder / "best_model/model.onnx")
    given = bundle.preprocessing(spec, exported, threshold=THRESHOLD, kpi_threshold=THRESHOLD)
    write_json_atomic(folder / "best_model" / bundle.PREPROCESSING, given)
    table = workspace / "kpi/testing_set.csv"
    open_pairs(spec, table, workspace / "kpi/images")
    scores, _ = score_table(spec, weights, table, workspace / "kpi/images", device="cpu", threads=1)
    rows = pd.read_csv(table)
    return workspace, weights, dict(zip(rows["object_name"], map(float, scores), strict=True))


def check_scores(folder, scores) -> None:
    """Each pair's score is the pipeline's own, from picture files to decision."""
    record = folder.need("inference")
    assert folder.need("inputs")["kind"] == "found" and len(record["samples"]) == 4
    assert {s["truth"] == "PASS" for s in record["samples"]} == {True, False}
    for sample in record["samples"]:
        name = sample["origin"].rsplit("/", 1)[-1].rsplit("_", 1)[0]
        assert sample["score"] == pytest.approx(scores[name], abs=1e-5)
        assert sample["label"] == ("NO_PASS" if sample["score"] > np.float32(THRESHOLD) else "PASS")
    assert folder.need("quality")["inputs_with_known_answer"] == 4
    contract = folder.need("io_contract")
    assert [i["name"] for i in contract["inputs"]] == ["input_1", "input_2"]
    # The rows that chose the model never give a plain go, and they are of several boards.
    verdict, inputs = folder.need("verdict"), folder.need("inputs")
    assert verdict["verdict"] != "GO" and verdict["blocking"] == []
    assert any("flatter" in c and "kpi/testing_set.csv" in c for c in verdict["conditions"])
    assert re.search(r"kpi/testing_set.csv: 4 of \d+ rows, of [2-4] boards", inputs["rows_from"])
    report = (folder.root / "reports/stakeholder-report.md").read_text()
    assert inputs["rows_from"] in report and "with 95 % confidence each: at least" in report
    assert contract["unknown"] == [] and contract["postprocess"]["threshold"] == THRESHOLD


def test_the_loops_best_weights(run, monkeypatch):
    workspace, weights, scores = run
    folder = tools.explored(
        workspace, in_process=monkeypatch, checkpoint=str(weights.relative_to(workspace)),
        name="changenet", samples=4, train_steps=3, environment="running",
    )  # fmt: skip
    check_scores(folder, scores)
    assert folder.need("io_contract")["postprocess"]["threshold_source"].startswith(
        "best_model.json"
    )
    (ref,) = folder.need("provenance")["refs"]
    assert (folder.root / ref["path"] / "scripts/deft/changenet/model.py").is_file()
    needs = {n["module"]: n for n in folder.need("dependencies")["list"]}
    assert needs["timm"]["wanted"].startswith("==") and needs["timm"]["satisfies"]
    assert folder.need("train_check")["runs"]
    spec = yaml.safe_load((folder.root / "refs/model/experiment.yaml").read_text())
    assert spec["model"]["backbone"]["type"] == "timm:test_convnext"


def test_the_hand_offs_onnx_folder(run, monkeypatch):
    workspace, _, scores = run
    folder = tools.explored(
        workspace, in_process=monkeypatch, checkpoint="results/run_a/best_model", name="changenet",
        samples=4, directory="tmp/onnx",
    )  # fmt: skip
    check_scores(folder, scores)
    assert folder.need("provenance")["refs"] == []
    assert folder.need("verdict")["verdict"] == "GO WITH CONDITIONS"
    assert folder.need("io_contract")["preprocess"]["input_1"]["source"].startswith(
        "preprocessing.json"
    )


def test_weights_in_the_workspaces_root_with_their_spec_in_specs(run, tmp_path, monkeypatch):
    workspace, weights, _ = run
    shutil.copyfile(weights, tmp_path / "changenet.pth")
    (tmp_path / "specs").mkdir()
    shutil.copyfile(workspace / "specs/baseline_spec.yaml", tmp_path / "specs/baseline_spec.yaml")
    keys = {"checkpoint": "changenet.pth", "name": "changenet", "warm_runs": 1}
    folder = tools.explored(tmp_path, in_process=monkeypatch, **keys)
    assert folder.need("io_contract")["unknown"] == [] and folder.need("stats")
    assert (folder.root / "refs/model/baseline_spec.yaml").is_file()


def test_an_exported_changenet_in_the_root_takes_its_spec_too(run, tmp_path, monkeypatch):
    """A bare ONNX file: names and shapes are the graph's, how a picture gets in is the spec's."""
    workspace, _, scores = run
    for name in ("kpi", "specs"):
        shutil.copytree(workspace / name, tmp_path / name)
    shutil.copyfile(workspace / "results/run_a/best_model/model.onnx", tmp_path / "net.onnx")
    folder = tools.explored(
        tmp_path, in_process=monkeypatch, checkpoint="net.onnx", name="changenet", samples=4
    )  # fmt: skip
    assert folder.need("io_contract")["unknown"] == []
    for sample in folder.need("inference")["samples"]:
        name = sample["origin"].rsplit("/", 1)[-1].rsplit("_", 1)[0]
        assert sample["score"] == pytest.approx(scores[name], abs=1e-5)


def test_the_one_spec_in_specs_is_taken_whatever_its_name(tmp_path):
    weights, specs = tmp_path / "changenet.pth", tmp_path / "specs"
    weights.write_bytes(b"x"), specs.mkdir()
    (specs / "changenet.yml").write_text("model: {}")
    request = Request(checkpoint=str(weights), name="changenet")
    found = identity(request, "state_dict", weights, [tmp_path / "elsewhere"])
    assert found.files == [(specs / "changenet.yml").resolve()]
    (specs / "other.yaml").write_text("model: {}")
    with pytest.raises(HardStop, match="2 could be meant: changenet.yml, other.yaml") as stop:
        identity(request, "state_dict", weights, [tmp_path])
    assert "explore: {spec: " in stop.value.fix


def test_weights_of_another_spec_are_no_fault_of_the_model(run, tmp_path, monkeypatch):
    workspace, weights, _ = run
    spec = yaml.safe_load((workspace / "specs/baseline_spec.yaml").read_text())
    spec["model"]["backbone"]["type"] = "timm:test_resnet"
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    with pytest.raises(HardStop, match="not decided") as stop:
        tools.explored(
            tmp_path, in_process=monkeypatch, checkpoint=str(weights), name="changenet",
            spec="spec.yaml", directory="x",
        )  # fmt: skip
    assert stop.value.code == "missing_input" and 'explore: spec: "specs/' in stop.value.fix


def test_pairs_are_taken_from_different_boards():
    rows = pd.DataFrame(
        [
            {"input_path": f"b{board}", "object_name": f"p{part}", "label": label, "boardname": ""}
            for board in range(6)
            for part in range(5)
            for label in ("PASS", "bridge")
        ]
    )
    chosen = rows.loc[pairs_in_turn(rows, 6)[:6]]
    assert list(chosen["label"]) == ["bridge", "PASS"] * 3
    assert chosen["input_path"].nunique() == 3
    bad = rows.loc[pairs_in_turn(rows, 12)[:12:2]]
    assert sorted(bad["input_path"]) == [f"b{n}" for n in range(6)]
    assert sorted(pairs_in_turn(rows, 3)) == list(rows.index)  # every row once
    named = rows.assign(boardname=["x", "y"] * 30)
    assert set(boards(named)) == {"x", "y"} and set(boards(rows)) == {f"b{n}" for n in range(6)}


def test_rows_that_the_workspace_has_not_seen_are_told_apart(run, tmp_path):
    workspace, _, _ = run
    rows = pd.read_csv(workspace / "kpi/testing_set.csv", dtype=str)
    assert known_to_the_loop(rows, workspace) == f"{len(rows)} in kpi/testing_set.csv"
    base = pd.read_csv(workspace / "train/base/training_set.csv", dtype=str)
    assert known_to_the_loop(base, workspace) == f"{len(base)} in train/base/training_set.csv"
    assert known_to_the_loop(rows.assign(input_path="elsewhere"), workspace) is None
    (tmp_path / "train/base").mkdir(parents=True)
    (tmp_path / "train/base/training_set.csv").write_text("no table")
    said = "perhaps some in train/base/training_set.csv, which cannot be read"
    assert known_to_the_loop(rows, tmp_path) == said


def test_without_pairs_a_test_picture_and_its_golden_are_drawn(run, tmp_path, monkeypatch):
    workspace, _, _ = run
    folder = tools.explored(
        tmp_path, in_process=monkeypatch, name="changenet",
        checkpoint=str(workspace / "results/run_a/best_model"),
    )  # fmt: skip
    inputs = folder.need("inputs")
    assert inputs["kind"] == "synthesised" and "kpi/testing_set.csv" in inputs["why"]
    assert {f"made_{i:03d}" for i in range(2)} == {s["id"] for s in inputs["samples"]}
    assert folder.need("verdict")["verdict"] == "GO WITH CONDITIONS"
