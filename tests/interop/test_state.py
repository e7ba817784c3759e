"""Their readers of the state on ours, and ours on the states that their scripts begin."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from nvidia_skills import needs_skills, run_aoi, succeeded
from tiny_workspace import make_tiny_workspace

from deft.core.layout import Run
from deft.preflight.check import Context
from deft.preflight.checks_handover import checks
from deft.preflight.start import record_start
from deft.run.handover import settings_of, take_over, with_taken
from deft.run.state import LOG_FILE, log_stage, read_log, read_state, update_phase, update_state
from deft.settings.config import defaults, resolve
from deft.settings.kpi_target import parse_kpi
from deft.settings.metric_contract import contract_of

pytestmark = needs_skills
RUN = "run_20260101_000000"
POINT = {"far_pct": 12.5, "recall_pct": 100.0, "threshold": 0.25}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    workspace = make_tiny_workspace(tmp_path / "w", base=4, validation=4, kpi=4, pool=4, pregen=2)
    return Run(workspace, RUN)


def begin_cur(run: Run, *args: object) -> None:
    succeeded(
        run_aoi(
            *("cur", "init_deft_state.py", "--results-dir", run.dir, "--workspace", run.workspace),
            *("--max-iterations", 2, "--num-gpus", 1, "--gpu-model", "none", "--num-epochs", 7),
            *("--num-sdg", 20, "--project", "p", "--step", 1, "--min-similarity", 0.5),
            *("--train-container", "a", "--ag-container", "b", "--batch-size", 4, *args),
        )
    )


def checked(run: Run) -> dict[str, tuple[str, str]]:
    config, _ = with_taken(defaults(), run.dir, [])
    ctx = Context(Path(run.workspace), run.dir, config, {}, print)
    return {check.id: (check.status, check.evidence) for check in checks(ctx)}


def test_a_run_that_the_newer_tools_began_is_taken(run: Run) -> None:
    begin_cur(run, "--kpi-target", "FAR < 10% at Recall=98%")
    config, taken = with_taken(defaults(), run.dir, [])
    assert {name: config[name] for name in taken if name != "kpi"} == {
        "max_iterations": 2,
        "training_epochs": 7,
        "top_k_per_target": 5,
        "min_similarity": 0.5,
        "mining_history": True,
    }
    target = parse_kpi(config["kpi"])
    assert (target.far_max_pct, target.min_recall, target.strict) == (10.0, 0.98, True)
    found = checked(run)
    assert found["handover_settings"][0] == found["handover_inputs"][0] == "ok"
    assert found["handover_anomalygen"][0] == "warn"
    take_over(run.dir, Path(run.workspace))
    record_start(run.workspace, run.dir, config)
    state = read_state(run.dir)
    assert state["version"] == 4, "it stays in their newer form"
    assert state["metric_contract"]["constraints"][0]["target"] == 98.0
    assert state["config"]["mining_filter"]["history_aware"]["enabled"] is True


def test_another_metric_than_far_is_taken_with_its_program(run: Run, tmp_path: Path) -> None:
    command = tmp_path / "judge"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    begin_cur(run, "--kpi-target", "quality >= 0.9", "--metric-evaluator", command)
    taken = settings_of(read_state(run.dir))
    assert "kpi" not in taken
    contract = contract_of(resolve(taken))
    assert (contract.primary.name, contract.primary.operator) == ("quality", ">=")
    assert contract.programs() == [str(command)]
    status, evidence = checked(run)["handover_settings"]
    assert status == "ok" and "metric_contract" in evidence


def test_the_newer_tools_read_our_version_4(run: Run) -> None:
    record_start(run.workspace, run.dir, resolve({"kpi": "FAR < 10%", "state_version": 4}))
    folder = run.phase("baseline")
    folder.mkdir(parents=True)
    metrics = {"chosen": "latest", "kinds": {"latest": {"recall_point": POINT}}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    path = run.dir / "deft_state.json"

    def next_stage() -> dict[str, str]:
        return json.loads(succeeded(run_aoi("cur", "deft_context.py", "--state", path)))

    assert next_stage()["next_stage"] == "train" and next_stage()["status"] == "in_progress"
    update_phase(run.dir, "baseline", status="in_progress", stage_completed="inference")
    log_stage(run.dir, "baseline", "train", "done", duration_s=3)
    assert next_stage()["next_stage"] == "evaluate"
    update_phase(run.dir, "baseline", stage_completed="evaluate", **{"far_pct": 12.5})
    assert next_stage()["next_stage"] == "rca", "the target is not met"
    not_yet = run_aoi("cur", "render_report.py", "--results-dir", run.dir, "--require-terminal")
    assert not_yet.returncode != 0
    update_state(run.dir, lambda state: state.update(status="complete"))
    assert next_stage()["next_stage"] == "complete"
    succeeded(run_aoi("cur", "render_report.py", "--results-dir", run.dir, "--require-terminal"))
    assert "12.5" in (run.dir / "DEFT_Loop_Report.html").read_text()


def test_their_line_in_our_log_and_ours_after_it(run: Run) -> None:
    log_stage(run.dir, "baseline", "inference", "ours", duration_s=2.6)
    succeeded(
        run_aoi(
            *("ea", "log_stage.py", "--log-path", run.dir / LOG_FILE, "--iter-label", "baseline"),
            *("--stage", "rca", "--status", "ok", "--summary", "theirs", "--duration-sec", 4),
        )
    )
    log_stage(run.dir, "iter1", "routing", "ours")
    entries = read_log(run.dir)
    assert [(e["seq"], e["stage"]) for e in entries] == [
        (1, "inference"),
        (2, "rca"),
        (3, "routing"),
    ]
    assert [set(e) for e in entries] == [set(entries[0])] * 3, "the same keys"
    assert {type(e["duration_sec"]) for e in entries} == {int}


def test_our_state_has_the_keys_that_theirs_begins_with(run: Run) -> None:
    succeeded(
        run_aoi(
            *("ea", "init_deft_state.py", "--results-dir", run.dir, "--workspace", run.workspace),
            *("--kpi-target", "FAR < 10%", "--max-iterations", 2, "--num-gpus", 1),
            *("--num-epochs", 7, "--train-container", "a"),
        )
    )
    theirs = read_state(run.dir)
    (run.dir / "deft_state.json").unlink()
    record_start(run.workspace, run.dir, resolve({"kpi": "FAR < 10%"}))
    ours = read_state(run.dir)
    words = {"_completed_step_values", "_status_values"}
    assert set(theirs) - words <= set(ours)
    assert set(ours) - set(theirs) == {"status", "native"}
    for group in ("config",):
        assert set(ours[group]) - set(theirs[group]) == {"pregen"}
        for key, value in theirs[group].items():
            if value is not None and ours[group][key] is not None:
                assert type(ours[group][key]) is type(value), key
    assert set(ours["config"]["mining_filter"]) == set(theirs["config"]["mining_filter"])
    assert set(ours["config"]["anomalygen"]) == set(theirs["config"]["anomalygen"])
    assert type(ours["kpi_target"]) is str and ours["status"] in theirs["_status_values"]
