"""The pages of a run that a metric contract judges: numbers with their keys, FAR beside them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_run import FakeRun
from metric_command import contract
from run_results import build_results

from deft.core.errors import HardStop
from deft.kpi.decision import Judged, best_phase, choice_of, decide_kpi
from deft.record.artifacts import summary_of
from deft.record.handoff import write_handoff
from deft.record.lenient import load_run
from deft.record.summaries import write_summary
from deft.report.check import check_html
from deft.report.render import render_report
from deft.settings.kpi_target import KpiTarget
from deft.settings.metric_contract import parse_contract

pytestmark = pytest.mark.usefixtures("unsaved_charts")
PHASES = ("baseline", "iter1", "iter2")


def judged(run: FakeRun, values: list[float], good: list[float], **changes: object) -> FakeRun:
    """Let a contract judge a run: values of the metric and of its constraint by phase."""
    checks = json.loads((run.dir / "preflight/checks.json").read_text())
    made = contract(Path("/opt/quiet.py"), **changes)
    run.json("preflight/checks.json", checks | {"metric_contract": made})
    for phase, value, held in zip(PHASES, values, good, strict=True):
        metrics = json.loads((run.dir / phase / "metrics.json").read_text())
        answer = {"name": made["name"], "value": value, "unit": made["unit"]}
        answer["measured"] = {"phase": phase, "weights_sha256": metrics["weights"]["sha256"]}
        run.json(f"{phase}/metric_result.json", answer | {"constraints": {"mean_good_score": held}})
    return run


def page_of(run: FakeRun) -> str:
    page = render_report(run.dir, run.workspace)
    assert check_html(page, build_results(run.dir, run.workspace)) == []
    return page.read_text()


def test_the_best_phase_is_the_contracts_and_every_number_has_its_key(finished):
    far_best = load_run(finished.dir, finished.workspace).best
    run = judged(finished, [0.2, 0.9, 0.9], [0.5, 0.5, 0.5])
    files = load_run(run.dir, run.workspace)
    assert files.best.name == "baseline" != far_best.name
    html = page_of(run)
    assert "The metric of the contract" in html and "Quiet defects" in html
    assert "best of the run by the metric contract" in html and "lowest FAR" not in html
    assert 'data-key="baseline.metric.value">0.2<' in html
    assert 'data-key="best.far_upper95_pct"' in html
    selected = summary_of(files, build_results(run.dir, run.workspace))["best_checkpoint"]
    assert "Quiet defects <= 0.5" in selected["selected_by"] and selected["phase"] == "baseline"


def test_a_broken_constraint_is_told_with_its_gap(finished):
    run = judged(finished, [0.2, 0.3, 0.4], [1.25, 1.5, 1.75])
    html = page_of(run)
    assert 'data-key="baseline.metric.constraints.mean_good_score.gap">0.25<' in html
    text = write_summary(run.dir, "baseline").read_text()
    assert "Status: 0.25 from target of Mean good score" in text
    assert "- Quiet defects 0.2 share" in text and "- FAR" in text


def test_a_phase_that_was_not_measured_is_in_progress(finished):
    run = judged(finished, [0.2, 0.3, 0.4], [0.5, 0.5, 0.5])
    (run.dir / "iter2/metric_result.json").write_text('{"name": "other"}')
    assert "In progress" in page_of(run) or "IN PROGRESS" in page_of(run)
    results = build_results(run.dir, run.workspace)
    assert "iter2.metric.value" not in results and "iter1.metric.value" in results


def test_without_a_contract_nothing_of_it_is_shown(finished):
    assert "metric contract" not in page_of(finished)


@pytest.fixture
def decided(finished) -> FakeRun:
    """A run that a contract judged, with its decision; its best phase is FAR's too."""
    best = load_run(finished.dir, finished.workspace).best.name
    values = [0.1 if phase == best else 0.6 for phase in PHASES]
    run = judged(finished, values, [0.5, 0.5, 0.5])
    read = [json.loads((run.dir / phase / "metrics.json").read_text()) for phase in PHASES]
    names = [run.dir / phase / "metric_result.json" for phase in PHASES]
    results = tuple(json.loads(path.read_text()) for path in names)
    checks = json.loads((run.dir / "preflight/checks.json").read_text())
    by = Judged(parse_contract(checks["metric_contract"]), results)
    decision = decide_kpi(read, KpiTarget.from_dict(checks["kpi_target"]), 2, by)
    decision |= choice_of(best_phase(read, by))
    run.decision.write_text(json.dumps(decision))
    return run


def test_the_handoff_names_the_contract_and_its_answer(decided):
    made = write_handoff(decided.dir, decided.workspace, decided.decision)
    assert made["metric_contract"]["name"] == made["metric_result"]["name"] == "quiet_defects"
    assert made["metric_result"]["passed"] is True and made["kpi_met"] is True
    assert "far_upper95_pct" in made["bounds"] and "recall_lower95_pct" in made["bounds"]


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("{best}/metric_result.json", {"value": 0.2}, "metric_result.json gives"),
        ("{best}/metric_result.json", {"unit": "%"}, "unit is '%'"),
        ("{best}/metric_result.json", {"measured": {"phase": "x", "weights_sha256": "0"}}, "phase"),
        ("preflight/checks.json", {"metric_contract": None}, "judges by another metric"),
        ("decision", {"metric_contract": None}, "judges by another metric"),
        ("decision", {"kpi_met": False}, "metric_result.json gives"),
    ],
)
def test_a_handoff_that_contradicts_itself_is_not_written(decided, name, change, words):
    best = json.loads(decided.decision.read_text())["best_phase"]
    path = decided.decision if name == "decision" else decided.dir / name.format(best=best)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    before = (decided.dir / "best_model.json").exists()
    with pytest.raises(HardStop, match=words) as caught:
        write_handoff(decided.dir, decided.workspace, decided.decision)
    assert caught.value.code == "missing_input"
    assert (decided.dir / "best_model.json").exists() is before


def test_the_record_says_where_a_tables_pictures_lie(finished):
    from deft.record.artifacts import data_entries

    checks = json.loads((finished.dir / "preflight/checks.json").read_text())
    tables = {"kpi": {"file": "kpi/testing_set.csv"}}
    roots = {"kpi": [{"path": "images", "resolved": "/data/images", "rows": 3}]}
    run = {**checks, "dataset": tables, "table_roots": roots}
    finished.json("preflight/checks.json", run)
    notes = {
        e["name"]: e["notes"] for e in data_entries(load_run(finished.dir, finished.workspace))
    }
    assert notes["kpi_testing_set"].endswith("; pictures under images")
    assert "pictures under" not in notes["mining_pool"]
