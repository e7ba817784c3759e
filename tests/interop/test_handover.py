"""A run that NVIDIA's own scripts began goes on here to its end; their scripts read ours."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from nvidia_skills import needs_skills, run_aoi, succeeded
from tiny_workspace import make_tiny_workspace
from workflow_tools import RUN, load, log_entries, plan, snakemake, state, succeed

from deft.run.state import LOG_FILE

pytestmark = [needs_skills, pytest.mark.workflow]
KPI = "FAR < 0.5% at recall=100%"
THEIRS = {"max_iterations": None, "training_epochs": None, "min_similarity": None}


def log(run: Path, phase: str, stage: str, summary: str) -> None:
    succeeded(
        run_aoi(
            *("ea", "log_stage.py", "--log-path", run / LOG_FILE, "--iter-label", phase),
            *("--stage", stage, "--status", "ok", "--summary", summary, "--duration-sec", 7),
        )
    )


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose run their scripts made: init, prestage, a baseline with its inference."""
    workspace = make_tiny_workspace(
        tmp_path_factory.mktemp("theirs") / "w", base=8, validation=6, kpi=9, pool=12, pregen=2
    )
    succeed(
        snakemake(workspace, f"results/{RUN}/baseline/metrics.json", config={"training_epochs": 1})
    )
    metrics = load(workspace, "baseline/metrics.json")
    point = metrics["kinds"][metrics["chosen"]]["recall_point"]
    run = workspace / "results" / RUN
    ours = workspace / "ours"
    shutil.move(run, ours)
    shutil.rmtree(workspace / ".snakemake")
    (workspace / "results/current_run").unlink()
    succeeded(
        run_aoi(
            *("ea", "init_deft_state.py", "--results-dir", run, "--workspace", workspace),
            *("--kpi-target", KPI, "--max-iterations", 1, "--num-gpus", 1, "--num-epochs", 1),
            *("--batch-size", 4, "--top-k-per-target", 2, "--min-similarity", 0.25),
            *("--train-container", "nvcr.io/nvidia/tao/tao-toolkit:6.0-pyt"),
        )
    )
    staged = ("--workspace", workspace, "--results-dir", run, "--image-ext", ".png")
    succeeded(run_aoi("ea", "prestage_pregen.py", *staged))
    train, scores = run / "baseline/train", run / "baseline/inference/best_val"
    train.mkdir(parents=True)
    scores.mkdir(parents=True)
    shutil.copy2(ours / "baseline" / metrics["weights"]["path"], train)
    shutil.copy2(ours / f"baseline/inference/{metrics['chosen']}/inference.csv", scores)
    (train / "status.json").write_text('{"status": "SUCCESS"}\n')
    known = json.loads((run / "deft_state.json").read_text())
    known["config"]["pregen"] = str(run / "synth_pool/manifest.json")
    known["iterations"]["baseline"] = {
        "status": "complete",
        "stage_completed": "evaluate",
        "best_ckpt_path": str(train / Path(metrics["weights"]["path"]).name),
        "best_ckpt_kind": "best_val",
        "far_pct": point["far_pct"],
        "threshold": point["threshold"],
        "inference_csv": str(scores / "inference.csv"),
    }
    (run / "deft_state.json").write_text(json.dumps(known, indent=2))
    log(run, "baseline", "train", "20 epochs")
    log(run, "baseline", "evaluate", f"FAR={point['far_pct']}%")
    (workspace / "weights.json").write_text(json.dumps(metrics["weights"]))
    shutil.rmtree(ours)
    return workspace


def test_a_run_of_theirs_goes_on_to_its_end(theirs: Path) -> None:
    run = theirs / "results" / RUN
    begun = (run / "deft_state.json").read_bytes()
    manifest = (run / "synth_pool/manifest.json").read_bytes()
    output = succeed(snakemake(theirs, config=THEIRS))
    assert "skipped: pre-seeded weights" in output
    checks = {c["id"]: c for c in load(theirs, "preflight/checks.json")["checks"]}
    for name in ("settings", "inputs", "baseline", "pool"):
        assert checks[f"handover_{name}"]["status"] == "ok", checks[f"handover_{name}"]
    assert "which its" not in checks["handover_baseline"]["evidence"]
    assert "is what its inference table gives" in checks["handover_baseline"]["evidence"]
    parameters = {p["name"]: p for p in load(theirs, "preflight/checks.json")["parameters"]}
    for name, value in (
        ("kpi", KPI),
        ("max_iterations", 1),
        ("min_similarity", 0.25),
        ("training_epochs", 1),
    ):
        assert (parameters[name]["value"], parameters[name]["source"]) == (value, "hand-over")
    found = state(theirs)
    assert (found["version"], found["status"], found["kpi_target"]) == (2, "complete", KPI)
    assert found["max_iterations"] == 1
    assert found["config"]["mining_filter"]["min_similarity"] == 0.25
    assert not (run / "iter2").exists(), "their laps"
    given = json.loads((theirs / "weights.json").read_text())
    facts = load(theirs, "baseline/train/weights.json")
    assert facts["preseeded"] and facts["files"][0]["sha256"] == given["sha256"]
    # Nothing of theirs is lost, and the log goes on from its last line.
    assert (run / "handover/deft_state.json").read_bytes() == begun
    assert (run / "handover/synth_pool/manifest.json").read_bytes() == manifest
    assert (run / "handover/baseline/train/status.json").is_file()
    entries = log_entries(theirs)
    assert [e["seq"] for e in entries] == list(range(1, len(entries) + 1))
    assert [(e["iter"], e["stage"]) for e in entries[:2]] == [
        ("baseline", "train"),
        ("baseline", "evaluate"),
    ]
    assert entries[-1]["stage"] == "loop_stop"
    assert "digests" in load(theirs, "synth_pool/manifest.json")
    assert plan(theirs, config=THEIRS) == {}
    # Their line in our log stands in nobody's way.
    log(run, "iter1", "rca", "looked at it again")
    assert log_entries(theirs)[-1]["seq"] == len(entries) + 1
    assert plan(theirs, config=THEIRS) == {}
    # Their hand-off script takes our state as theirs.
    succeeded(run_aoi("ea", "prepare_inference_spec.py", "--results-dir", run))
    best = load(theirs, "best_model.json")
    assert Path(best["checkpoint"]).is_file() and best["iteration"] in ("baseline", "iter1")
