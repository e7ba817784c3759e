"""Version 4 of the state: what it has beside version 2, drawn from the run's files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_workspace import make_tiny_workspace

from deft.core.layout import Run
from deft.preflight.start import record_start
from deft.run.state import log_stage, read_log, read_state, update_phase, update_state
from deft.run.state_version_4 import CONFIG_KEYS, RUN_KEYS
from deft.settings.config import resolve

RUN = "run_20260101_000000"
POINT = {"far_pct": 12.5, "recall_pct": 100.0, "threshold": 0.25}
METRICS = {"chosen": "latest", "kinds": {"latest": {"recall_point": POINT}}}


def started(workspace: Path, **config: object) -> Run:
    if not workspace.is_dir():
        make_tiny_workspace(workspace, base=4, validation=4, kpi=4, pool=4, pregen=2)
    run = Run(workspace, RUN)
    record_start(workspace, run.dir, resolve({"kpi": "FAR <= 10% at recall=99%", **config}))
    return run


def evaluated(run: Run) -> dict:
    folder = run.phase("baseline")
    (folder / "train").mkdir(parents=True)
    (folder / "train/experiment.yaml").write_text("model: {}\n")
    (folder / "metrics.json").write_text(json.dumps(METRICS))
    best = str(folder / "train/model_epoch_000_step_00001.pth")
    update_phase(run.dir, "baseline", best_ckpt_path=best, **{k: POINT[k] for k in ("far_pct",)})
    return read_state(run.dir)["iterations"]["baseline"]


def test_the_log_stands_in_the_state(tmp_path: Path) -> None:
    run = started(tmp_path / "w", state_version=4)
    log_stage(run.dir, "baseline", "train", "done", duration_s=2)
    log_stage(run.dir, "baseline", "evaluate", "done", duration_s=1)
    state = read_state(run.dir)
    assert state["version"] == 4
    assert [e["stage"] for e in state["events"]] == ["train", "evaluate"]
    assert state["events"] == read_log(run.dir)


def test_a_phase_has_its_result_under_the_contract(tmp_path: Path) -> None:
    run = started(tmp_path / "w", state_version=4)
    entry = evaluated(run)
    contract = read_state(run.dir)["metric_contract"]
    assert (contract["operator"], contract["target"]) == ("<=", 10.0)
    assert contract["constraints"][0]["target"] == 99.0
    result = entry["metric_result"]
    assert (result["name"], result["value"], result["unit"]) == ("far_pct", 12.5, "%")
    assert result["constraints"] == {"recall_pct": 100.0} and result["passed"] is False
    assert entry["training_spec"].endswith("baseline/train/experiment.yaml")
    started(tmp_path / "w", state_version=4, kpi="FAR < 13% at recall=100%")
    assert read_state(run.dir)["iterations"]["baseline"]["metric_result"]["passed"] is True


def test_the_result_of_a_command_counts_where_there_is_one(tmp_path: Path) -> None:
    run = started(tmp_path / "w", state_version=4)
    told = {"name": "quality", "value": 0.5, "unit": "", "passed": False}
    run.phase("baseline").mkdir(parents=True)
    (run.phase("baseline") / "metric_result.json").write_text(json.dumps(told))
    result = evaluated(run)["metric_result"]
    assert result == {**told, "evidence_path": str(run.phase("baseline") / "metric_result.json")}


def test_inference_is_no_stage_of_it(tmp_path: Path) -> None:
    run = started(tmp_path / "w", state_version=4)
    update_phase(run.dir, "baseline", stage_completed="inference")
    assert read_state(run.dir)["iterations"]["baseline"]["stage_completed"] == "train"


def test_the_end_names_what_is_handed_off(tmp_path: Path) -> None:
    run = started(tmp_path / "w", state_version=4)
    for name in ("best_model.json", "best_model_inference_spec.yaml"):
        (run.dir / name).write_text("{}")
    state = update_state(run.dir, lambda state: state.update(status="complete"))
    assert state["final_artifacts"]["best_model_json"] == str(run.dir / "best_model.json")
    assert state["completed_at"]
    state = update_state(run.dir, lambda state: state.update(status="in_progress"))
    assert not {"completed_at", "final_artifacts"} & set(state)


@pytest.mark.parametrize("found", [2, 4])
def test_null_keeps_the_version_that_is_there(tmp_path: Path, found: int) -> None:
    run = started(tmp_path / "w", state_version=found)
    started(tmp_path / "w")
    assert read_state(run.dir)["version"] == found


def test_version_2_has_nothing_of_it(tmp_path: Path) -> None:
    run = started(tmp_path / "w", state_version=4)
    evaluated(run)
    started(tmp_path / "w", state_version=2)
    state = read_state(run.dir)
    assert not set(RUN_KEYS) & set(state) and not set(CONFIG_KEYS) & set(state["config"])
    assert "history_aware" not in state["config"]["mining_filter"]
    assert not {"metric_result", "training_spec"} & set(state["iterations"]["baseline"])
