"""What a run that other tools began hands over, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_workspace import make_tiny_workspace

from deft.core.errors import HardStop
from deft.core.layout import Run
from deft.preflight.check import Check, Context
from deft.preflight.checks_handover import checks
from deft.run.handover import (
    HANDOVER_FILE,
    given_weights,
    settings_of,
    take_over,
    with_taken,
)
from deft.run.state import STATE_FILE, read_log, read_state, record_hard_stop
from deft.settings.config import defaults, resolve
from deft.settings.kpi_target import parse_kpi
from deft.settings.metric_contract import contract_of

RUN = "run_20260101_000000"
KPI = "FAR < 10% at recall=100%"


def begun(workspace: Path, **more: Any) -> dict[str, Any]:
    """Return a state as NVIDIA's version 2 has it when a run begins."""
    return {
        "version": 2,
        "kpi_target": KPI,
        "results_dir": str(workspace / "results" / RUN),
        "max_iterations": 2,
        "current_iteration": 0,
        "config": {
            "specs_file": str(workspace / "specs/baseline_spec.yaml"),
            "training_csv": str(workspace / "train/base/training_set.csv"),
            "images_dir": str(workspace / "kpi/images"),
            "num_epochs": 7,
            "batch_size": 4,
            "mining_filter": {"top_k_per_target": 3, "metric": "cosine", "min_similarity": 0.5},
        },
        "iterations": {},
        **more,
    }


@pytest.fixture
def run(tmp_path: Path) -> Run:
    workspace = make_tiny_workspace(tmp_path / "w", base=4, validation=4, kpi=4, pool=4, pregen=2)
    run = Run(workspace, RUN)
    run.dir.mkdir(parents=True)
    return run


def write(run: Run, **more: Any) -> dict[str, Any]:
    state = begun(Path(run.workspace), **more)
    (run.dir / STATE_FILE).write_text(json.dumps(state))
    return state


def asked(run: Run, **given: Any) -> dict[str, Check]:
    """Return the checks of a pre-flight, by id; ``given``: what the user set himself."""
    config = {**defaults(), **given}
    config, _ = with_taken(config, run.dir, list(given))
    ctx = Context(Path(run.workspace), run.dir, config, {}, print)
    return {check.id: check for check in checks(ctx)}


def test_its_settings_count_where_the_user_set_none(run: Run) -> None:
    write(run)
    config, taken = with_taken(defaults(), run.dir, [])
    assert {name: config[name] for name in taken} == {
        "kpi": KPI,
        "max_iterations": 2,
        "training_epochs": 7,
        "top_k_per_target": 3,
        "min_similarity": 0.5,
    }
    assert asked(run)["handover_settings"].status == "ok"


def test_other_settings_of_the_user_are_refused_not_replaced(run: Run) -> None:
    write(run)
    check = asked(run, max_iterations=3, kpi="FAR < 0.1% at recall=100%")["handover_settings"]
    assert check.stop is not None and check.stop.code == "config_invalid"
    assert "max_iterations: the state says 2, the configuration 3" in check.evidence
    assert "0.1%" in check.evidence and "min_similarity" not in check.evidence
    same = asked(run, kpi="false alarm rate below 10% while recall = 100%")
    assert same["handover_settings"].status == "ok", "another wording of the same target"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"max_iterations": "two"}, "max_iterations is 'two'"),
        ({"max_iterations": True}, "max_iterations is True"),
        ({"kpi_target": "as good as possible"}, "as good as possible"),
        ({"config": {"mining_filter": {"metric": "euclidean"}}}, "mines by cosine alone"),
        (
            {"metric_contract": {"name": "quality", "operator": ">=", "target": 0.9}},
            "metric_contract",
        ),
    ],
)
def test_what_cannot_be_taken_is_a_stop(run: Run, more: dict[str, Any], told: str) -> None:
    write(run, **more)
    check = asked(run)["handover_settings"]
    assert check.status == "stop" and told in check.evidence and check.fix


def test_a_value_out_of_range_names_the_state(run: Run) -> None:
    write(run, max_iterations=99)
    with pytest.raises(HardStop, match="max_iterations") as stop:
        with_taken(defaults(), run.dir, [])
    assert stop.value.code == "config_invalid" and str(stop.value.file).endswith(STATE_FILE)


def test_a_contract_says_what_its_sentence_leaves_out() -> None:
    contract = {
        "name": "far_pct",
        "operator": "<=",
        "target": 5.0,
        "evaluator": {"type": "builtin", "parameters": {"recall_target_pct": 98.0}},
        "constraints": [{"name": "recall_pct", "operator": ">=", "target": 98.0}],
    }
    found = parse_kpi(settings_of({"kpi_target": "FAR <= 5%", "metric_contract": contract})["kpi"])
    assert (found.far_max_pct, found.min_recall, found.strict) == (5.0, 0.98, False)


@pytest.mark.parametrize(
    "more",
    [
        {"constraints": [{"name": "escape_pct", "operator": "<=", "target": 1.0}]},
        {"constraints": [{"name": "recall_pct", "operator": "<", "target": 99.0}]},
        {"constraints": [{"name": "recall_pct", "operator": ">=", "target": 101}]},
        {"constraints": ["recall"]},
        {"target": 10**400},
        {"target": "5"},
        {"operator": ">"},
    ],
)
def test_a_contract_that_the_loop_cannot_keep_is_refused(more: dict[str, Any]) -> None:
    contract = {"name": "far_pct", "operator": "<", "target": 5.0, **more}
    with pytest.raises(HardStop, match="metric_contract"):
        settings_of({"metric_contract": contract})


def test_a_contract_on_another_metric_is_taken_whole() -> None:
    contract = {
        "name": "escape_cost",
        "display_name": "Escape cost",
        "operator": "<",
        "target": 3.5,
        "unit": "EUR",
        "evaluator": {"type": "command", "path": "/usr/bin/env", "args": ["cost"]},
        "constraints": [],
    }
    found = settings_of({"kpi_target": "cost below 3.5 EUR", "metric_contract": contract})
    assert "kpi" not in found
    assert contract_of(resolve(found)).as_dict() == contract


def test_other_inputs_are_refused(run: Run, tmp_path: Path) -> None:
    state = write(run)
    state["config"]["training_csv"] = str(tmp_path / "elsewhere.csv")
    (run.dir / STATE_FILE).write_text(json.dumps(state))
    check = asked(run)["handover_inputs"]
    assert check.status == "stop" and "elsewhere.csv" in check.evidence


@pytest.mark.parametrize("stage", ["train", "inference", "evaluate", "rca"])
def test_a_baseline_further_than_its_training_is_not_trained_again(run: Run, stage: str) -> None:
    weights = run.phase("baseline") / "train/model_epoch_019_step_00100.pth"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    entry = {"stage_completed": stage, "best_ckpt_path": str(weights), "status": "complete"}
    write(run, iterations={"baseline": entry})
    assert given_weights(run.dir, run.workspace) == weights
    take_over(run.dir, Path(run.workspace))
    kept = run.dir / "handover/baseline/train" / weights.name
    assert kept.read_bytes() == b"weights" and not run.phase("baseline").exists()
    take_over(run.dir, Path(run.workspace))  # as after a crash
    assert given_weights(run.dir, run.workspace) == kept
    entry = read_state(run.dir)["iterations"]["baseline"]
    assert (entry["stage_completed"], entry["best_ckpt_path"]) == ("train", str(kept))
    noted = json.loads((run.dir / HANDOVER_FILE).read_text())["settings"]
    assert noted["max_iterations"] == 2


def test_a_baseline_whose_far_is_not_its_tables_is_refused(run: Run) -> None:
    weights = run.dir / "baseline.pth"
    weights.write_bytes(b"weights")
    table = run.dir / "inference.csv"
    rows = (Path(run.workspace) / "kpi/testing_set.csv").read_text().splitlines()
    column = rows[0].split(",").index("label")
    scores = [0.1 if row.split(",")[column] == "PASS" else 0.9 for row in rows[1:]]
    lines = [
        rows[0] + ",siamese_score",
        *(f"{r},{s}" for r, s in zip(rows[1:], scores, strict=True)),
    ]
    table.write_text("\n".join(lines) + "\n")
    entry = {
        "stage_completed": "evaluate",
        "best_ckpt_path": str(weights),
        "inference_csv": str(table),
        "far_pct": 0.0,
    }
    write(run, iterations={"baseline": entry})
    assert "is what its inference table gives" in asked(run)["handover_baseline"].evidence
    write(run, iterations={"baseline": {**entry, "far_pct": 12.0}})
    check = asked(run)["handover_baseline"]
    assert check.stop is not None and check.stop.code == "score_invalid"
    assert "says FAR 12%" in check.evidence and "gives 0%" in check.evidence


def test_trained_laps_are_refused_and_unfinished_ones_made_again(run: Run) -> None:
    write(run, iterations={"iter1": {"stage_completed": "evaluate", "best_ckpt_path": "/w/a.pth"}})
    check = asked(run)["handover_laps"]
    assert check.status == "stop" and "iter1" in check.evidence and "new run" in check.fix
    (run.phase("iter1") / "dataset").mkdir(parents=True)
    (run.phase("iter1") / "dataset/train_combined_iter1.csv").write_text("a\n")
    write(run, iterations={"iter1": {"stage_completed": "data_mining"}, "final_automl": {}})
    assert "iter1" in asked(run)["handover_laps"].evidence
    take_over(run.dir, Path(run.workspace))
    assert not run.phase("iter1").exists()
    assert (run.dir / "handover/iter1/dataset/train_combined_iter1.csv").is_file()
    assert read_state(run.dir)["iterations"] == {"final_automl": {}}


def staged(run: Run) -> Path:
    """Lay out a pool as the other tool stages it, and return its folder."""
    folder = run.dir / "synth_pool"
    pairs = Path(run.workspace) / "augmentation/anomalygen"
    for source, name in (("reconstructed_image", "synth_ng"), ("original_image", "synth_ok")):
        (folder / "images" / name).mkdir(parents=True)
        for picture in (pairs / source).iterdir():
            target = f"{picture.stem}_SolderLight{picture.suffix}"
            shutil.copy2(picture, folder / "images" / name / target)
    manifest = {"schema_version": 1, "counts": {"real_rows": 4, "sdg_rows": 2, "total_rows": 6}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_a_pool_staged_elsewhere_is_verified_and_put_aside(run: Run) -> None:
    folder = staged(run)
    check = asked(run)["handover_pool"]
    assert check.status == "ok" and "4 pictures as the pairs are now, 4 pool rows" in check.evidence
    take_over(run.dir, Path(run.workspace))
    assert not folder.exists() and (run.dir / "handover/synth_pool/manifest.json").is_file()


@pytest.mark.parametrize("damage", ["changed", "fewer", "rows"])
def test_a_staged_pool_of_other_inputs_is_refused(run: Run, damage: str) -> None:
    folder = staged(run)
    picture = next((folder / "images/synth_ng").iterdir())
    if damage == "changed":
        picture.write_bytes(picture.read_bytes() + b"x")
    elif damage == "fewer":
        picture.unlink()
    else:
        (folder / "manifest.json").write_text('{"counts": {"real_rows": 5}}')
    check = asked(run)["handover_pool"]
    assert check.stop is not None and check.stop.code == "pregen_mutated" and check.fix


def test_events_of_a_version_4_state_begin_the_log(run: Run) -> None:
    event = {"seq": 1, "ts": "t", "iter": "baseline", "stage": "train", "status": "ok"}
    write(run, version=4, events=[{**event, "summary": "s", "duration_sec": 5}, "no event"])
    take_over(run.dir, Path(run.workspace))
    assert [(e["seq"], e["duration_sec"]) for e in read_log(run.dir)] == [(1, 5)]


def test_a_run_of_our_own_hands_nothing_over(run: Run) -> None:
    write(run, native={"started_here": True})
    assert with_taken(defaults(), run.dir, []) == (defaults(), [])
    assert asked(run) == {}
    before = (run.dir / STATE_FILE).read_bytes()
    take_over(run.dir, Path(run.workspace))
    assert (run.dir / STATE_FILE).read_bytes() == before


def test_a_stop_of_our_own_pre_flight_hands_nothing_over(run: Run) -> None:
    record_hard_stop(run.dir, "preflight", "preflight", HardStop("pool_empty", "no rows"))
    take_over(run.dir, Path(run.workspace))
    assert not (run.dir / HANDOVER_FILE).exists() and not (run.dir / "handover").exists()


def test_a_state_that_cannot_be_read_is_the_resume_checks_to_tell(run: Run) -> None:
    (run.dir / STATE_FILE).write_text("[1]")
    assert with_taken(defaults(), run.dir, []) == (defaults(), [])
    assert asked(run) == {}
    with pytest.raises(HardStop):
        read_state(run.dir)
