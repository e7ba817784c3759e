"""The hand-off of a run whose score is the mean over turns, in one stage and in two."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from stage_calls import arguments
from workflow_tools import RUN, load, plan, script, snakemake, succeed

from deft.core.layout import Run

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

LAST = "iter2/decide/kpi.json"
COMMON = ("--workspace", ".", "--run", RUN)


def scored_again(workspace: Path, stage: str, *which: object, more: tuple[str, ...]) -> str:
    """Run a rule's own command line for the best phase."""
    named = arguments(stage, Run(Path(), RUN), *which)
    return succeed(script(workspace, stage, *COMMON, *named, *more))


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_the_hand_off_decides_as_the_run_did(workspace: Path, runtime: str) -> None:
    best = load(workspace, "best_model.json")["iteration"]
    views = ("--score-views", "turns")
    phase = ("--phase", best, "--max-iterations", "2")
    more = (*phase, *views, "--device", "cpu", "--runtime", runtime)
    scored_again(workspace, "infer", best, more=more)
    told = scored_again(workspace, "evaluate", best, more=(*phase, "--min-recall", "1"))
    assert "turns: FAR " in told and "4 × the scoring time" in told
    metrics = load(workspace, f"{best}/metrics.json")
    assert metrics["score_views"] == "turns" and list(metrics["views"]) == ["one", "turns"]
    decision = Run(Path(), RUN).dir / LAST
    refused = script(
        workspace,
        "export_best",
        *COMMON,
        *arguments("export_best", Run(Path(), RUN), decision, best),
    )
    assert refused.returncode == 1 and "are of score_views turns, not of one" in refused.stdout
    for staged in (False, True):
        given = (*views, "--score-two-stage", str(staged).lower(), "--device", "cpu")
        said = scored_again(workspace, "export_best", decision, best, more=given)
        assert "turns: " in said and "× the cost" in said and ("two stages" in said) == staged
        record = load(workspace, "best_model/export.json")
        assert record["views"] == 4 and record["parity"]["at_safe_threshold"]["flips"] == 0
        facts = load(workspace, "best_model/preprocessing.json")
        assert facts["score_views"] == "turns" and ("first_stage" in facts) == staged
        readme = (workspace / "results" / RUN / "best_model/README.md").read_text()
        assert "`score_views: turns`" in readme and ("two stages" in readme) == staged
        table = pd.read_csv(
            workspace / "results" / RUN / best / "inference" / metrics["chosen"] / "inference.csv"
        )
        point = metrics["kinds"][metrics["chosen"]]["recall_point"]
        above = table["siamese_score"].to_numpy(np.float32) > np.float32(point["threshold"])
        succeed(snakemake(workspace, "score", config={"table": "kpi/testing_set.csv"}))
        scored = pd.read_csv(workspace / "results" / RUN / "scored/testing_set/scores.csv")
        assert scored["verdict"].tolist() == np.where(above, "NO_PASS", "PASS").tolist()


def test_other_views_score_the_finished_run_again(workspace: Path) -> None:
    config = {"score_views": "turns"}
    assert plan(workspace, f"results/{RUN}/baseline/metrics.json", config=config) == {
        "infer": 1,
        "evaluate": 1,
    }
    assert plan(workspace, config={"score_views_share": 0}) == {}
    two = plan(workspace, "best_model", config={"score_views": "one", "score_two_stage": "false"})
    assert two == {}
    text = snakemake(workspace, config={"score_two_stage": "true"}).stdout
    assert "HARD STOP config_invalid: score_two_stage is true and score_views is one" in text
    assert json.loads((workspace / "results" / RUN / "best_model.json").read_text())
