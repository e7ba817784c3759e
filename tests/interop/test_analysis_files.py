"""NVIDIA's own checks on our KPI, RCA and routing files, and their KPI analysis beside ours."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from nvidia_hooks import (
    LAP,
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
from scored_run import make_scored_run
from stage_calls import evaluate, route

from deft.core.files import read_json
from deft.core.layout import BASELINE, VALIDATION_TABLE
from deft.kpi.evaluation import KINDS
from deft.stages.context import Context

pytestmark = needs_skills

both = pytest.mark.parametrize("variant", ["ea", "cur"])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Context:
    return make_scored_run(tmp_path_factory.mktemp("scored") / "w")


@pytest.fixture
def run(made: Context, tmp_path: Path) -> Path:
    """A copy of the run's folder that a test may change, with what their checks look for nearby."""
    run = tmp_path / made.run.name
    shutil.copytree(made.run.dir, run)
    inference = run / BASELINE / "inference"
    shutil.copy(inference / "best_val/inference.csv", inference)  # else label coverage says nothing
    shutil.copytree(run / BASELINE / "rca_results", run / LAP / "rca_results")  # else coverage does
    return run


# --- root-cause analysis and routing --------------------------------------------------------------


@both
@pytest.mark.parametrize("name", RCA_HOOKS)
def test_their_checks_find_nothing_wrong_with_the_rca_folder(variant, name, run) -> None:
    assert hook(variant, RCA, name, written(rca_report(run))) == ""


@both
@pytest.mark.parametrize("name", ROUTING_HOOKS)
@pytest.mark.parametrize("mode", ["pregen", "by_label"])
def test_their_checks_find_nothing_wrong_with_the_routing_folder(
    variant, name, mode, run, made
) -> None:
    if mode == "by_label":  # with a label that goes nowhere, by the user's leave
        manifest = made.run.synth_pool / "manifest.json"
        kept = manifest.read_text()
        pool = json.loads(kept)
        del pool["labels"]["missing"]
        manifest.write_text(json.dumps(pool))
        try:
            route(made, LAP, mode, ["PASS", "BRIDGE"], ["missing"])
            shutil.copytree(made.run.routing(LAP), routing_report(run).parent, dirs_exist_ok=True)
            assert "neither (DROPPED)" in routing_report(run).read_text()
        finally:
            manifest.write_text(kept)
            route(made, LAP, "pregen", [], [])
    assert hook(variant, ROUTING, name, written(routing_report(run))) == ""


@both
def test_their_checks_see_what_is_taken_away(variant, run) -> None:
    """Else a hook that looks at another place would find nothing wrong either."""
    report = rca_report(run)
    text = report.read_text()
    (report.parent / "gaps.parquet").unlink()
    assert "gaps.parquet not found" in hook(variant, RCA, RCA_HOOKS[0], written(report))
    report.write_text(text.replace("## 5. Visual Spot Check", "## 5. Pictures"))
    assert "MISSING SECTION" in hook(variant, RCA, RCA_HOOKS[1], written(report))
    report.write_text(text.replace("bridge", "bow"))
    assert "'bridge'" in hook(variant, RCA, RCA_HOOKS[2], written(report))
    routed = routing_report(run)
    text = routed.read_text()
    (routed.parent / "routing_summary.txt").write_text("nothing")
    said = hook(variant, ROUTING, ROUTING_HOOKS[0], written(routed))
    assert said.count("BAD SUMMARY") == 3
    routed.write_text(text.replace("mining only", "mined"))
    assert "PER-LABEL TABLE" in hook(variant, ROUTING, ROUTING_HOOKS[1], written(routed))
    routed.write_text(text.replace("`bridge`", "`bow`"))
    assert "MISSING FROM ROUTING TABLE" in hook(variant, ROUTING, ROUTING_HOOKS[2], written(routed))


@both
def test_what_our_stages_print_looks_like_no_failure(variant, made, capsys) -> None:
    said = evaluate(made, BASELINE, 1.0)
    call = {
        "tool_name": "Bash",
        "tool_input": {"command": "python scripts/evaluate.py  # compute the score statistics"},
        "tool_response": {"stdout": f"{capsys.readouterr().out}\n{said}", "stderr": ""},
    }
    assert hook(variant, RCA, "rca-script-check.sh", call) == ""
    assert hook(variant, ROUTING, "routing-script-check.sh", call) == ""


# --- training table, report -----------------------------------------------------------------------


@both
def test_their_validator_takes_the_assembled_table(variant, made) -> None:
    table = made.run.phase(LAP) / f"dataset/train_combined_{LAP}.csv"
    args = ["--csv", table, "--workspace-root", made.root]
    args += ["--validation-csv", made.workspace / VALIDATION_TABLE, "--image-ext", ".png"]
    for light in made.lights:
        succeeded(run_aoi(variant, "validate_training_csv.py", *args, "--light", light))
    other = run_aoi(variant, "validate_training_csv.py", *args, "--light", "NoLight")
    assert other.returncode == 2 and "missing input_path on disk" in other.stderr


def test_their_report_of_our_run_has_its_figures(run, made) -> None:
    """With a state in version 4's words, the files that it names are ours."""
    path = run / "deft_state.json"
    state = json.loads(path.read_text())
    state |= {"status": "in_progress", "kpi_target": "FAR < 95% at recall=100%"}
    for phase in state["iterations"].values():
        phase["status"] = "complete"
    path.write_text(json.dumps({**state, "events": []}))
    args = ("render_report.py", "--results-dir", run)
    early = run_aoi("cur", *args, "--require-terminal")
    assert early.returncode == 2 and "not terminal" in early.stderr
    path.write_text(json.dumps({**state, "status": "complete", "events": []}))
    succeeded(run_aoi("cur", *args, "--require-terminal"))
    page = (run / "DEFT_Loop_Report.html").read_text()
    far = read_json(made.run.phase(BASELINE) / "metrics.json")["kinds"][KINDS[0]]["recall_point"]
    assert "KPI MET" in page and f"{far['far_pct']:.4g}%" in page


# --- the KPI --------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["ea", "cur"])
def theirs(request, made: Context, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """What their analysis writes and says for our inference table."""
    out = tmp_path_factory.mktemp(request.param)
    table = made.run.phase(BASELINE) / "inference" / KINDS[0] / "inference.csv"
    return out, succeeded(run_aoi(request.param, "analyze_kpi.py", table, "--output-dir", out))


@pytest.fixture
def ours(made: Context) -> Path:
    return made.run.phase(BASELINE) / "inference" / KINDS[0]


def test_every_file_of_theirs_is_there_by_its_name(theirs, ours) -> None:
    names = {path.name for path in theirs[0].iterdir()}
    assert len(names) >= 6
    # A KPI of the user's own, which CUR's analysis lays beside the table, is the phase's.
    assert names - {path.name for path in ours.iterdir()} <= {"metric_result.json"}


def same_numbers(a: pd.Series, b: pd.Series) -> bool:
    # Scores are float32; a rate of nothing (no part rejected) is theirs nan and ours 0.
    numbers = [np.nan_to_num(column.to_numpy(dtype=float)) for column in (a, b)]
    return bool(np.allclose(*numbers, rtol=1e-6, atol=1e-6))


def test_thresholds_and_missed_samples_are_theirs_within_rounding(theirs, ours) -> None:
    for name in ("threshold_metrics.csv", "best_f1_missed_no_pass_samples.csv"):
        a, b = pd.read_csv(theirs[0] / name), pd.read_csv(ours / name)
        assert list(b.columns)[: len(a.columns)] == list(a.columns), name
        assert len(a) == len(b) > 1, name
        for column in a.columns:
            if pd.api.types.is_numeric_dtype(a[column]):
                assert same_numbers(a[column], b[column]), (name, column)
            else:
                assert a[column].fillna("").tolist() == b[column].fillna("").tolist()


def test_the_key_line_is_theirs_on_the_terminal_and_in_the_summary(
    theirs, ours, made, capsys
) -> None:
    pattern = (
        r"100% recall threshold: (\S+) \(FAR=(\S+)%, precision=(\S+), recall=(\S+), f1=(\S+)\)"
    )
    evaluate(made, BASELINE, 0.9)  # the user's KPI asks for less: the line stays
    printed = capsys.readouterr().out
    evaluate(made, BASELINE, 1.0)
    wanted = [float(figure) for figure in re.search(pattern, theirs[1]).groups()]
    assert 0 < wanted[1] < 100
    for text in (printed, (ours / "summary.txt").read_text()):
        found = [float(figure) for figure in re.search(pattern, text).groups()]
        assert found == pytest.approx(wanted, abs=1e-6)
