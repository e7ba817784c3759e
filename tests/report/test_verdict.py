"""The verdict: four judgements and one threshold, alike on page, terminal, JSON and spec."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from fake_run import RUN, FakeRun
from run_results import build_results

from deft.core.schemas import validate
from deft.record import judged
from deft.record.artifacts import write_artifacts
from deft.record.handoff import write_handoff
from deft.record.lenient import load_run
from deft.record.summaries import write_summary
from deft.record.verdict import Verdict, verdict_lines, verdict_of
from deft.report.render import render_report

pytestmark = pytest.mark.usefixtures("unsaved_charts")


def verdict(run: FakeRun, phase: str | None = None) -> tuple[Verdict, dict[str, float]]:
    files = load_run(run.dir, run.workspace)
    results = build_results(run.dir, run.workspace)
    chosen = next(p for p in files.phases if p.name == (phase or files.best.name))  # type: ignore[union-attr]
    found = verdict_of(files, chosen, results)
    assert found is not None
    return found, results


def kinds(found: Verdict) -> dict[str, str]:
    return {j.name: j.kind for j in found.judgements}


def text(found: Verdict, results: dict[str, float], name: str) -> str:
    at = [j.name for j in found.judgements].index(name)
    return found.lines(results)[at]


def test_met_but_not_proven(built: dict[str, FakeRun]) -> None:
    found, results = verdict(built["met"])
    assert kinds(found)["met"] == "good"
    said = text(found, results, "proven")
    assert "Cannot be certified with 160 good parts and 39 defects" in said
    assert "260 more, all caught, prove 99 %" in said  # 299 in all
    html = render_report(built["met"].dir, built["met"].workspace).read_text()
    assert 'class="badge measured big">MET' in html and 'class="badge met big"' not in html


def test_proven_needs_both_bounds(finished: FakeRun) -> None:
    checks = json.loads((finished.dir / "preflight/checks.json").read_text())
    checks["kpi_target"] |= {"far_max_pct": 50.0, "min_recall": 0.9}
    finished.json("preflight/checks.json", checks)
    assert kinds(verdict(finished)[0])["proven"] == "good"
    checks["kpi_target"] |= {"min_recall": 0.99}
    finished.json("preflight/checks.json", checks)
    found, results = verdict(finished)
    assert kinds(found)["proven"] == "open"
    assert "Recall needs 260 more defects, all caught." in text(found, results, "proven")


def test_fragile_names_the_next_parts_and_those_it_hangs_on(finished: FakeRun) -> None:
    table = pd.read_csv(finished.dir / "iter1/inference/best_val/inference.csv")
    found, results = verdict(finished)
    value = results["iter1.set_threshold"]
    passing = table[table["siamese_score"] <= value].nlargest(1, "siamese_score").iloc[0]
    rejected = table[table["siamese_score"] > value].nsmallest(1, "siamese_score").iloc[0]
    said = text(found, results, "fragile")
    assert passing["object_name"] in said and rejected["object_name"] in said
    below = results["iter1.verdict.fragile.margin_below"]
    assert below == pytest.approx(value - float(np.float32(passing["siamese_score"])))
    lowest = table[table["label"] != "PASS"].nsmallest(1, "siamese_score").iloc[0]
    assert "The target hangs on" in said and lowest["object_name"] in said


def test_a_weak_model_is_called_short_of_the_target_and_not_fragile(finished: FakeRun) -> None:
    finished._evaluate("iter1", 1, 0.0)  # no better than chance
    table = pd.read_csv(finished.dir / "iter1/inference/best_val/inference.csv")
    ng = table["label"] != "PASS"
    lowest = table[ng].nsmallest(1, "siamese_score")["object_name"].iloc[0]
    found, results = verdict(finished, "iter1")
    assert results["iter1.verdict.fragile.parts"] > judged.FEW_PARTS
    said = text(found, results, "fragile")
    assert said.startswith("clearly short of the target: The target does not hang on few parts: ")
    assert f"{results['iter1.verdict.fragile.parts']:d} of {ng.sum()} defects" in said
    assert kinds(found)["fragile"] == "open"
    for wrong in ("look at their labels", "another seed", "thin", lowest):
        assert wrong not in said


def test_a_target_that_many_good_parts_hold_names_none_of_them(built: dict[str, FakeRun]) -> None:
    found, results = verdict(built["met"])
    parts = results["iter1.verdict.fragile.parts"]
    assert parts > judged.FEW_PARTS
    wanted = f"It takes {parts:d} more good parts above the threshold to break the target."
    said = text(found, results, "fragile")
    assert wanted in said and "hangs on" not in said


def test_another_weight_file_far_off_is_fragile(finished: FakeRun) -> None:
    metrics = json.loads((finished.dir / "iter1/metrics.json").read_text())
    metrics["kinds"]["latest"]["recall_point"]["far_pct"] = 100.0
    finished.json("iter1/metrics.json", metrics)
    found, results = verdict(finished)
    assert "latest, has FAR 100.00 %: far off" in text(found, results, "fragile")
    inference = json.loads((finished.dir / "iter1/inference/inference.json").read_text())
    chosen = inference["kinds"]["best_val"]["weights_sha256"]
    inference["kinds"]["latest"]["weights_sha256"] = chosen  # one file under both names
    finished.json("iter1/inference/inference.json", inference)
    found, results = verdict(finished)
    assert "other weight file" not in text(found, results, "fragile")


def pairs(run: FakeRun, *found: tuple[str, str]) -> None:
    checks = json.loads((run.dir / "preflight/checks.json").read_text())
    near = {"id": "leakage_pool_kpi_near", "status": "warn", "evidence": "x", "fix": ""}
    checks["checks"].append(near | {"pairs": [list(pair) for pair in found]})
    run.json("preflight/checks.json", checks)


def test_leak_suspects_are_the_mined_ones(finished: FakeRun) -> None:
    mined = pd.read_csv(finished.dir / "iter1/mining_filter/mining_pool.csv")
    pool = pd.read_csv(finished.dir / "synth_pool/source_pool.csv")
    other = pool[~pool["object_name"].isin(mined["object_name"])].iloc[0]
    first = mined.iloc[0]
    held = next((finished.workspace / "kpi/images").rglob("*.jpg"))
    near = str(held.relative_to(finished.workspace))
    name = f"{first['input_path']}/{first['object_name']}_SolderLight.jpg"
    pairs(finished, (name, near), (f"{other['input_path']}/{other['object_name']}_x.jpg", near))
    found, results = verdict(finished)
    assert results["iter1.verdict.leak.mined"] == 1 and kinds(found)["leak"] == "open"
    assert kinds(verdict(finished, "baseline")[0])["leak"] == "good"  # nothing mined yet
    html = render_report(finished.dir, finished.workspace).read_text()
    assert "Show the pairs" in html and held.stem in html


def test_pairs_that_were_not_kept_are_not_called_clean(finished: FakeRun) -> None:
    checks = json.loads((finished.dir / "preflight/checks.json").read_text())
    checks["checks"].append({"id": "leakage_pool_kpi_near", "status": "warn", "evidence": "50"})
    finished.json("preflight/checks.json", checks)
    assert kinds(verdict(finished)[0])["leak"] == "unknown"


@pytest.mark.parametrize("spoiled", ["x", 7, [["a"]], [[1, 2]], {"a": 1}])
def test_spoiled_pairs_are_left_out(finished: FakeRun, spoiled: object) -> None:
    checks = json.loads((finished.dir / "preflight/checks.json").read_text())
    checks["checks"].append({"id": "leakage_base_kpi_near", "status": "warn", "pairs": spoiled})
    finished.json("preflight/checks.json", checks)
    assert kinds(verdict(finished)[0])["leak"] == "good"


def test_one_threshold_everywhere(finished: FakeRun) -> None:
    model = write_handoff(finished.dir, finished.workspace, finished.decision)
    folder = write_artifacts(
        finished.dir, finished.workspace, command="x", seed=7, code_dir=finished.workspace
    )
    value = model["threshold"]
    shown = repr(value)
    spec = yaml.safe_load((finished.dir / "best_model_inference_spec.yaml").read_text())
    assert spec["model"]["classify"]["eval_margin"] == value
    assert model["onnx"]["threshold"] == value
    facts = json.loads((finished.dir / "best_model/preprocessing.json").read_text())
    assert facts["threshold"] == value
    for name in ("analysis", "summary"):
        record = json.loads((folder / f"{name}.json").read_text())
        validate(name, record)
        assert record["verdict"]["set_threshold"] == value
        assert record["verdict"]["kpi_threshold"] == model["kpi_threshold"]
    html = render_report(finished.dir, finished.workspace).read_text()
    assert f'data-key="iter1.set_threshold">{shown}</span>' in html
    assert any(
        line.startswith(f"set this threshold: {shown}.")
        for line in verdict_lines(finished.dir, finished.workspace)
    )
    summary = write_summary(finished.dir, "iter1").read_text()
    assert f"set this threshold: {shown}\n" in summary
    table = pd.read_csv(finished.dir / "iter1/inference/best_val/inference.csv")
    scores = table["siamese_score"].to_numpy(np.float32)
    alike = (scores > float(shown)) == (scores > np.float32(model["kpi_threshold"]))
    assert alike.all()


def test_before_the_first_evaluation_there_is_none(built: dict[str, FakeRun]) -> None:
    run = built["untouched"]
    assert verdict_lines(run.dir, run.workspace) == []
    assert 'id="verdict"' not in render_report(run.dir, run.workspace).read_text()


def test_the_verdict_stands_first(finished: FakeRun) -> None:
    html = render_report(finished.dir, finished.workspace).read_text()
    body = html[html.index("<main>") :]
    assert body.index("<section") == body.index('<section id="verdict"')
    assert Path(finished.dir).name == RUN


def test_the_threshold_of_a_model_off_its_target_says_so(built: dict[str, FakeRun]) -> None:
    for name, off in (("finished", True), ("met", False)):
        html = render_report(built[name].dir, built[name].workspace).read_text()
        box = html[html.index('id="set-threshold"') :]
        assert ("does not meet the target" in box[: box.index("</section>")]) is off


def test_every_threshold_that_is_printed_is_read_back_as_the_same(
    built: dict[str, FakeRun],
) -> None:
    """What is typed in as printed decides every KPI part as the record does."""
    run = built["finished"]
    results = build_results(run.dir, run.workspace)
    html = render_report(run.dir, run.workspace).read_text()
    printed = re.findall(r'data-key="([^"]*threshold)">([^<]*)<', html)
    assert len({key for key, _ in printed}) > 8
    for key, text in printed:
        if "similarity" not in key:
            assert np.float32(float(text)) == np.float32(results[key]), key


def test_no_recall_level_is_green_without_proof(built: dict[str, FakeRun]) -> None:
    run = built["met"]
    html = render_report(run.dir, run.workspace).read_text()
    table = html[html.index('id="recall-far"') :]
    table = table[: table.index("</section>")]
    results = build_results(run.dir, run.workspace)
    wanted = [
        results[f"iter1.recall_table.{i}.far_upper95_pct"] < 30
        and results[f"iter1.recall_table.{i}.recall_lower95_pct"]
        >= results[f"iter1.recall_table.{i}.min_recall_pct"]
        for i in range(table.count("<tr>") - 1)
    ]
    assert [kind == "met" for kind in re.findall(r'class="badge (\w+)"', table)] == wanted
    assert not wanted[0]
