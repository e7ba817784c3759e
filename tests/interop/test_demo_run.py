"""A fresh run of the drawn workspace, and what NVIDIA's tools look at in a finished run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pytest
from nvidia_hooks import (
    RCA,
    RCA_HOOKS,
    ROUTING,
    ROUTING_HOOKS,
    hook,
    rca_report,
    routing_report,
    written,
)
from nvidia_skills import needs_skills, run_aoi, succeeded
from workflow_tools import RUN, load, log_entries, plan, snakemake, succeed

from deft.core.layout import VALIDATION_TABLE
from deft.demo.workspace import WorkspaceRequest, make_workspace

pytestmark = [needs_skills, pytest.mark.workflow, pytest.mark.slow]
VERSION = {"ea": 2, "cur": 4}  # of the state that the variant's tools read


def settings(variant: str) -> dict[str, object]:
    small = {"max_iterations": 1, "training_epochs": 1, "state_version": VERSION[variant]}
    return small | dict.fromkeys(("min_similarity", "top_k_per_target", "top_k_per_label"))


@pytest.fixture(scope="module", params=["ea", "cur"])
def variant(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def workspace(variant: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn workspace, small, after a whole run with one lap."""
    workspace = tmp_path_factory.mktemp(variant) / "demo"
    make_workspace(workspace, WorkspaceRequest(size_px=32, rows_scale=0.05))
    succeed(snakemake(workspace, config=settings(variant)))
    return workspace


@pytest.fixture
def run(workspace: Path) -> Path:
    return workspace / "results" / RUN


def test_their_checks_of_the_analysis_and_the_routing_find_nothing_wrong(variant, run):
    for name in RCA_HOOKS:
        assert hook(variant, RCA, name, written(rca_report(run))) == ""
    for name in ROUTING_HOOKS:
        assert hook(variant, ROUTING, name, written(routing_report(run))) == ""


def test_their_analysis_of_our_scores_names_our_threshold(variant, run, workspace, tmp_path):
    metrics = load(workspace, "iter1/metrics.json")
    scores = run / f"iter1/inference/{metrics['chosen']}/inference.csv"
    said = succeeded(run_aoi(variant, "analyze_kpi.py", scores, "--output-dir", tmp_path))
    theirs = float(said.split("100% recall threshold:")[1].split()[0])
    whole = metrics["kinds"][metrics["chosen"]]["far_at_recall"]["100"]["threshold"]
    assert theirs == pytest.approx(whole, abs=1e-6)


def test_their_validator_takes_the_table_of_the_lap(variant, run, workspace):
    table = run / "iter1/dataset/train_combined_iter1.csv"
    args = ["--csv", table, "--workspace-root", workspace, "--light", "SolderLight"]
    args += ["--validation-csv", workspace / VALIDATION_TABLE, "--image-ext", ".jpg"]
    succeeded(run_aoi(variant, "validate_training_csv.py", *args))


def test_their_handoff_is_ours(variant, run, workspace):
    ours = load(workspace, "best_model.json")
    (run / "best_model.json").rename(run / "ours.json")
    spec = run / "best_model_inference_spec.yaml"
    kept = spec.read_bytes()
    try:
        succeeded(run_aoi(variant, "prepare_inference_spec.py", "--results-dir", run))
        theirs = load(workspace, "best_model.json")
    finally:
        (run / "ours.json").replace(run / "best_model.json")
        spec.write_bytes(kept)
    for name in ("checkpoint", "iteration", "backbone", "images_dir"):
        assert theirs[name] == ours[name]
    assert theirs["far_pct"] == pytest.approx(ours["far_pct"], abs=1e-3)
    # They keep the spec's path as the container's; here it is one of this machine.
    for name in ("backbone_type", "backbone_frozen"):
        assert theirs.get(name, ours[name]) == ours[name]


def test_their_page_of_our_run_is_of_one_that_ended(variant, run):
    if variant == "ea":
        pytest.skip("EA's page is an agent's work, no script's")
    page = run / "DEFT_Loop_Report.html"
    kept = page.read_bytes()
    try:
        succeeded(run_aoi("cur", "render_report.py", "--results-dir", run, "--require-terminal"))
        far = json.loads((run / "best_model.json").read_text())["far_pct"]
        assert f"{far:.4g}%" in page.read_text()
    finally:
        page.write_bytes(kept)


def test_their_staging_of_the_same_pool_has_our_pictures(variant, run, workspace):
    if variant == "cur":
        pytest.skip("CUR stages no pre-generated pairs")
    theirs = workspace / "results/run_theirs"
    theirs.mkdir()
    named = ("--workspace", workspace, "--results-dir", theirs)
    succeeded(run_aoi("ea", "prestage_pregen.py", *named))
    columns = ["object_name", "provenance"]  # of a pair they write the label NG
    found = pd.read_csv(theirs / "synth_pool/source_pool.csv", dtype=str)[columns]
    ours = pd.read_csv(run / "synth_pool/source_pool.csv", dtype=str)[columns]
    assert sorted(map(tuple, found.to_numpy())) == sorted(map(tuple, ours.to_numpy()))


def test_their_line_in_the_log_stands_in_nobodys_way(variant, run, workspace):
    if variant == "cur":
        pytest.skip("CUR's log lies in its state")
    entries = log_entries(workspace)
    log = run / "loop_log.jsonl"
    args = ("--log-path", log, "--iter-label", "iter1", "--stage", "rca", "--status", "ok")
    succeeded(run_aoi("ea", "log_stage.py", *args, "--summary", "seen", "--duration-sec", 1))
    assert log_entries(workspace)[-1]["seq"] == len(entries) + 1
    assert plan(workspace, config=settings(variant)) == {}


def test_a_spec_with_the_drawn_weights_is_found_by_name(variant, workspace):
    named = load(workspace, "best_model.json")["backbone"]
    assert os.path.samefile(named, workspace / "augmentation/backbone/test_convnext.pth")
