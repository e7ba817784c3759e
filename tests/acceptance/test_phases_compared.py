"""Lap against lap: in metrics.json, on the terminal, in the numbers, in the choice of the best."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest
from scored_run import make_scored_run, write_scores
from stage_calls import evaluate
from stage_calls import files as files_of

from deft.core.errors import HardStop
from deft.core.files import write_json_atomic
from deft.kpi.steady import far_geometric_mean_pct
from deft.record.lenient import load_run
from deft.record.proof import best_proven
from deft.record.results import collect_results
from deft.report.proof import proof_view
from deft.settings.metric_contract import parse_contract
from deft.stages import noise_floor
from deft.stages.context import Context
from deft.stages.decide import decide
from deft.tables.changenet_table import is_ng, read_table

KPI = "FAR < 0.1% at recall=100%"


def separated(wrong: int):
    """Scores that reject so many good parts at the threshold of the lowest defect."""

    def scores(ng: np.ndarray) -> np.ndarray:
        found = np.where(ng, 0.8, 0.2) + np.arange(len(ng)) * 1e-4
        found[np.flatnonzero(~ng)[:wrong]] = 0.95
        return found.astype(np.float32)

    return scores


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Context:
    context = make_scored_run(tmp_path_factory.mktemp("run") / "w")
    told = []
    for phase, wrong in (("baseline", 12), ("iter1", 10), ("iter2", 3)):
        write_scores(context, phase, separated(wrong))
        told.append(evaluate(context, phase, 1.0))
    context.__dict__["told"] = told
    return context


def metrics(context: Context, phase: str) -> dict:
    return json.loads((context.run.phase(phase) / "metrics.json").read_text())


def test_metrics_and_terminal_say_it(run: Context) -> None:
    baseline, first, second = (metrics(run, p) for p in ("baseline", "iter1", "iter2"))
    assert "against_previous" not in baseline
    good = first["against_previous"]["good"]
    assert (good["fixed"], good["broke"], good["parts"]) == (2, 0, 40)
    assert first["against_previous"]["verdict"] == "cannot tell"
    good = second["against_previous"]["good"]
    assert (good["fixed"], good["broke"]) == (7, 0)
    assert good["p"] == pytest.approx(binomtest(7, 7).pvalue)
    assert second["against_previous"]["verdict"] == "better"
    told = run.__dict__["told"]
    assert "against" not in told[0]
    assert "against the phase before: cannot tell (good parts 2 fixed, 0 broke, p 0.5)" in told[1]
    assert "against the phase before: better (good parts 7 fixed" in told[2]


def test_the_steady_figure_stands_beside(run: Context) -> None:
    for phase in ("baseline", "iter2"):
        table = read_table(run.run.phase(phase) / "inference/best_val/inference.csv")
        ng = table["label"].map(is_ng).to_numpy()
        scores = table["siamese_score"].astype(np.float32).to_numpy()
        kind = metrics(run, phase)["kinds"]["best_val"]
        assert kind["far_geometric_mean_pct"] == far_geometric_mean_pct(scores, ng)
        text = (run.run.phase(phase) / "inference/best_val/summary.txt").read_text()
        assert f"recalls of 90 to 99.75 %: {kind['far_geometric_mean_pct']:.4g} %" in text


def test_numbers_and_page_have_it(run: Context) -> None:
    files = load_run(run.run.dir, run.workspace)
    results = collect_results(files)
    assert results["iter2.against_previous.good.fixed"] == 7
    assert results["iter2.against_baseline.good.fixed"] == 9
    assert results["iter1.against_previous.defects.p"] == 1
    kind = metrics(run, "iter2")["kinds"]["best_val"]
    assert results["iter2.far_geometric_mean_pct"] == kind["far_geometric_mean_pct"]
    view = proof_view(files, results)
    assert view and [row["previous"] for row in view["rows"]] == [None, "cannot tell", "better"]
    assert (view["lowest"], view["proven"], view["by"]) == ("iter2", "iter2", "lowest")
    # A run of an earlier version has no such figure in its metrics: it is made of its scores.
    for phase in files.phases:
        for found in phase.metrics.get("kinds", {}).values():
            found.pop("far_geometric_mean_pct", None)
    assert collect_results(files)["iter2.far_geometric_mean_pct"] == pytest.approx(
        results["iter2.far_geometric_mean_pct"]
    )


def test_the_proven_phase_is_handed_off_where_asked(run: Context) -> None:
    def decided(phase: str, best_by: str) -> dict:
        asked = (phase, "kpi", KPI, 1, None, best_by)
        decide(run, files_of("decide", run.run, phase), *asked)
        return json.loads((run.run.phase(phase) / "decide/kpi.json").read_text())

    assert decided("iter1", "lowest_far")["best_phase"] == "iter1"
    proven = decided("iter1", "proven")
    assert proven["best_phase"] == "baseline" and proven["lowest_far_phase"] == "iter1"
    assert proven["best_weights_sha256"] == metrics(run, "baseline")["weights"]["sha256"]
    files = load_run(run.run.dir, run.workspace)
    assert files.best is not None and files.best.name == files.by_proof == "baseline"
    assert decided("iter2", "proven")["best_phase"] == "iter2"
    files = load_run(run.run.dir, run.workspace)
    assert files.best is not None and files.best.name == best_proven(files) == "iter2"
    (run.run.phase("iter1") / "decide/kpi.json").unlink()
    (run.run.phase("iter2") / "decide/kpi.json").unlink()


def test_a_metric_contract_has_no_proven_phase(run: Context) -> None:
    contract = parse_contract(
        {"name": "x", "operator": "<", "target": 1, "unit": "%"}
        | {"evaluator": {"type": "command", "path": "/bin/true"}}
    )
    with pytest.raises(HardStop, match="best_phase=proven"):
        files = files_of("decide", run.run, "baseline")
        named = replace(files, results=files.metrics)
        decide(run, named, "baseline", "kpi", KPI, 1, contract, "proven")


def test_noise_floor_of_a_run(run: Context, monkeypatch, tmp_path: Path) -> None:
    trained: list[int] = []
    scored_by: list[str] = []

    def train(spec, *, out_dir, options, **_):
        trained.append(options.seed)
        if trained == [8, 9]:
            raise KeyboardInterrupt
        out_dir.mkdir(parents=True)
        files = [{"path": n, "epoch": e, "val_loss": 1.0} for e, n in enumerate(("a", "b"))]
        return {"files": files, "best_val": "a", "latest": "b"}

    def score_table(spec, weights, table, images, *, views, **_):
        scored_by.append(views)
        rows = read_table(table)
        seed = trained[-1] if weights.name == "a" else 0  # the last weights are worse
        return separated(4 * seed - 26 if seed else 15)(rows["label"].map(is_ng).to_numpy()), rows

    monkeypatch.setattr(noise_floor, "train", train)
    monkeypatch.setattr(noise_floor, "score_table", score_table)
    files = noise_floor.Files(
        metrics=run.run.phase("baseline") / "metrics.json",
        weights=run.run.phase("baseline") / "train/weights.json",
        record=run.run.dir / "noise/noise.json",
    )
    asked = {"trainings": 2, "epochs": 1, "min_recall": 1.0}
    options = noise_floor.Options(seed=7)
    with pytest.raises(KeyboardInterrupt):
        noise_floor.measure_noise(run, files, **asked, options=options)
    said = noise_floor.measure_noise(run, files, **asked, options=options)
    assert trained == [8, 9, 9]  # what was done is kept
    found = json.loads(files.record.read_text())
    assert [m["seed"] for m in found["members"]] == [7, 8, 9]
    assert [m["far_pct"] for m in found["members"]] == [30.0, 15.0, 25.0]
    assert set(found["members"][1]["far_at_recall_pct"]) == {"100", "99.5", "99", "95"}
    assert found["trainings"] == 3 and "3 trainings" in said
    assert [p.name for p in files.record.parent.iterdir()] == ["noise.json"]
    results = collect_results(load_run(run.run.dir, run.workspace))
    assert results["noise.factor"] == found["factor"]
    # A baseline that was given is none of the trainings.
    given = tmp_path / "weights.json"
    write_json_atomic(given, {"preseeded": True})
    trained[:] = [1]
    files = noise_floor.Files(files.metrics, given, tmp_path / "noise/noise.json")
    noise_floor.measure_noise(run, files, **asked, options=options)
    assert len(json.loads(files.record.read_text())["members"]) == 2
    # All are scored over the baseline's views; what was kept of another measurement is no member.
    trained.clear()
    with pytest.raises(KeyboardInterrupt):
        noise_floor.measure_noise(run, files, **asked, options=options)
    assert set(scored_by) == {"one"}
    scored_by.clear()
    by_turns = tmp_path / "baseline/metrics.json"
    write_json_atomic(by_turns, {**metrics(run, "baseline"), "score_views": "turns"})
    files = replace(files, metrics=by_turns)
    noise_floor.measure_noise(run, files, **asked, options=options)
    assert trained == [8, 9, 8, 9] and set(scored_by) == {"turns"}
