"""A run that is judged by a user's command: stop, best phase, what runs again, what is reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from metric_command import config_file, contract, write_command
from workflow_tools import RUN, load, plan, snakemake, succeed

pytestmark = [pytest.mark.workflow, pytest.mark.long]

DEAR = {"train", "infer", "evaluate", "mine", "rca", "embed_shard", "stage_pool", "assemble"}


def asked(command: Path) -> list[str]:
    return command.with_name("asked.txt").read_text().splitlines()


@pytest.fixture(scope="module")
def judged(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The finished run, judged again by a metric that no phase meets; and its command."""
    from workflow_tools import copy_in_its_place

    folder = tmp_path_factory.mktemp("metric")
    workspace = copy_in_its_place(finished, folder / "workspace")
    command = write_command(folder)
    args = config_file(folder, contract(command, target=-1.0))
    planned = plan(workspace, args=args)
    assert not DEAR & planned.keys(), f"a new metric must train nothing again: {planned}"
    succeed(snakemake(workspace, args=args))
    return workspace, command


def test_each_phase_is_measured_once_and_the_best_is_the_metrics(judged):
    workspace, command = judged
    phases = ("baseline", "iter1", "iter2")
    results = {phase: load(workspace, f"{phase}/metric_result.json") for phase in phases}
    tables = [Path(results[phase]["measured"]["inference_csv"]) for phase in phases]
    assert asked(command) == [str(workspace / table) for table in tables]
    best = min(phases, key=lambda phase: results[phase]["value"])
    decision = load(workspace, "iter2/decide/kpi.json")
    assert decision["best_phase"] == best and decision["reason"] == "max_iterations"
    assert decision["metric"]["failed"] == ["quiet_defects"] and decision["kpi_met"] is False
    handed = load(workspace, "best_model.json")
    assert handed["iteration"] == best and handed["metric_result"]["passed"] is False
    assert handed["metric_contract"] == contract(command, target=-1.0)
    # FAR, recall and their bounds stand beside it.
    point = load(workspace, f"{best}/metrics.json")
    point = point["kinds"][point["chosen"]]["recall_point"]
    assert handed["far_pct"] == point["far_pct"]
    assert handed["bounds"]["far_upper95_pct"] == point["far_upper95_pct"]
    page = (workspace / "results" / RUN / "DEFT_Loop_Report.html").read_text()
    assert "Quiet defects" in page and "The metric of the contract" in page
    analysis = json.loads((workspace / f"artifacts/runs/{RUN}/analysis.json").read_text())
    assert analysis["results"]["metric.target"] == -1.0
    assert analysis["results"][f"{best}.metric.value"] == results[best]["value"]
    assert f"{best}.far_upper95_pct" in analysis["results"]
    assert "of Quiet defects" in (workspace / "results" / RUN / "iter2_summary.md").read_text()


def test_nothing_is_asked_again(judged):
    workspace, command = judged
    before = asked(command)
    args = config_file(command.parent, contract(command, target=-1.0))
    assert plan(workspace, args=args) == {}
    # Another target judges the same answers: decisions, hand-off and pages, and no question.
    args = config_file(command.parent, contract(command, target=2.0))
    planned = plan(workspace, args=args)
    assert "decide" in planned and not (DEAR | {"measure"}) & planned.keys()
    # Another command asks again, and still trains nothing.
    text = command.read_text()
    command.write_text(text + "# changed\n")
    args = config_file(command.parent, contract(command, target=-1.0))
    planned = plan(workspace, args=args)
    command.write_text(text)
    assert "measure" in planned and not DEAR & planned.keys()  # a plan ends at a decision
    assert asked(command) == before


@pytest.mark.slow
def test_the_loop_ends_where_the_metric_is_met(judged):
    workspace, command = judged
    args = config_file(command.parent, contract(command, target=2.0))
    succeed(snakemake(workspace, args=args))
    assert load(workspace, "baseline/decide/kpi.json")["reason"] == "kpi_met"
    assert load(workspace, "best_model.json")["kpi_met"] is True
    assert load(workspace, "best_model.json")["iteration"] == "baseline"


def test_a_bad_answer_stops_before_any_decision_and_leaves_nothing(finished, tmp_path):
    from workflow_tools import copy_in_its_place

    workspace = copy_in_its_place(finished, tmp_path / "workspace")
    command = write_command(tmp_path, "#!/bin/sh\necho no idea >&2\nexit 3\n")
    done = snakemake(workspace, args=config_file(tmp_path, contract(command)))
    assert done.returncode != 0 and "Traceback" not in done.stdout
    assert "HARD STOP kpi_invalid" in done.stdout and "status 3" in done.stdout
    assert "no idea" in done.stdout
    assert not list((workspace / "results" / RUN).glob("*/metric_result.json"))


def test_a_contract_that_cannot_be_read_is_one_clear_line(fresh, tmp_path):
    args = config_file(tmp_path, contract(tmp_path / "gone.py", operator="=<"))
    done = snakemake(fresh, args=args)
    assert done.returncode == 1 and "Traceback" not in done.stdout
    assert "HARD STOP kpi_invalid: metric_contract: operator is '=<'" in done.stdout
    args = config_file(tmp_path, contract(tmp_path / "gone.py"))
    done = snakemake(fresh, "preflight", args=[*args, "--cores", "1"])
    assert done.returncode != 0 and "gone.py is no file" in done.stdout
