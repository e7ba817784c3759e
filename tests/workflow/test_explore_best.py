"""`snakemake explore` on what the finished loop hands off: its ONNX folder and its TAO weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import explore_tools as tools
import pandas as pd
import pytest
from workflow_tools import RUN, load, snakemake, succeed

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


@pytest.mark.parametrize("form", ["onnx", "weights"])
def test_the_best_model_is_explored_and_scores_as_the_loop_did(
    workspace: Path, tmp_path: Path, form: str
) -> None:
    best = load(workspace, "best_model.json")
    checkpoint = f"results/{RUN}/best_model" if form == "onnx" else best["checkpoint"]
    config = tools.write_config(
        tmp_path / "mine.yaml", checkpoint=checkpoint, name="changenet", samples=6, warm_runs=3,
        batch_sizes=[1, 2], environment="running", targets={"latency_p95_ms": 1e6},
    )  # fmt: skip
    before = (workspace / "results" / RUN / "deft_state.json").read_bytes()
    args = [f"--configfile={config}"]
    out = succeed(snakemake(workspace, "explore", args=args, config={"approve": None}))
    (place,) = (p for p in (workspace / "tmp").iterdir() if p.is_dir())
    assert "stakeholder-report.md" in out
    found = tools.outputs(place, "inference", "io_contract", "stats")
    phase = workspace / "results" / RUN / best["iteration"]
    scored = pd.read_csv(phase / "inference" / best["checkpoint_kind"] / "inference.csv")
    scores = dict(zip(scored["object_name"], scored["siamese_score"], strict=True))
    for sample in found["inference"]["samples"]:
        name = sample["origin"].rsplit("/", 1)[-1].rsplit("_", 1)[0]
        assert sample["score"] == pytest.approx(scores[name], abs=1e-5)
    threshold = found["io_contract"]["postprocess"]["threshold"]
    wanted = best["onnx"]["threshold"] if form == "onnx" else best["threshold"]
    assert threshold == pytest.approx(wanted)
    assert (workspace / "results" / RUN / "deft_state.json").read_bytes() == before
    away = tmp_path / "moved"
    shutil.move(place, away)
    tools.run_again(away)
    again = json.loads((away / "outputs/stats.json").read_text())
    assert again["shapes"] == found["stats"]["shapes"]
