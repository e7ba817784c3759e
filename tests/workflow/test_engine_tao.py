"""The loop with `engine: tao`, its containers played by a stand-in: plan, whole, resumed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
import workflow_tools
from tao_docker import Docker, tao_workspace
from workflow.test_hermetic import job_of, same_again
from workflow_tools import (
    REPOSITORY,
    RUN,
    clean_environment,
    load,
    log_entries,
    plan,
    script,
    snakemake,
    snakemake_command,
    state,
    succeed,
    working_folder,
)

pytestmark = [pytest.mark.workflow, pytest.mark.long]

SIZE = {"base": 8, "validation": 6, "kpi": 8, "pool": 12, "pregen": 2}
SETTINGS = {"engine": "tao", "device": "auto", "training_epochs": 1, "max_iterations": 1}
SETTINGS["random_weights"] = True  # the network is one of TAO's, and no file is staged
LIMITS = ("--cores", "2", "--max-threads", "1")
SAME = (
    *("inference/best_val/inference.csv", "inference/latest/inference.csv"),
    *("inference/best_val/threshold_metrics.csv", "inference/best_val/summary.txt"),
)
WAIT_S = 300


@pytest.fixture
def docker(tmp_path, monkeypatch) -> Docker:
    """The stand-in, on the PATH of every command that a test starts."""
    found = Docker(tmp_path / "docker")
    environment = {**clean_environment(), **found.environment}
    for name in ("HF_TOKEN", "NGC_API_KEY", "CUDA_VISIBLE_DEVICES"):
        environment.pop(name, None)
    monkeypatch.setattr(workflow_tools, "clean_environment", lambda: environment)
    return found


def test_the_plan_has_the_native_engines_rules(docker, tmp_path):
    workspace = tao_workspace(tmp_path / "w", **SIZE)
    target = f"results/{RUN}/iter1/metrics.json"
    tao = plan(workspace, target, config=SETTINGS)
    native = plan(workspace, target, config={**SETTINGS, "engine": "native"})
    assert tao == native and tao["rca"] == 1
    assert not docker.calls() and not (workspace / "results").exists()


def rules_of(engine: str) -> dict[str, str]:
    """Return rule -> text of an engine's file."""
    text = (REPOSITORY / "rules" / f"engine_{engine}.smk").read_text()
    blocks = re.split(r"^(?=rule )", text, flags=re.MULTILINE)[1:]
    return {re.match(r"rule (\w+)", block).group(1): block for block in blocks}


def test_both_engines_make_the_same_files_by_the_same_rules():
    tao, native = rules_of("tao"), rules_of("native")
    assert set(native) - set(tao) == {"noise_floor", "restore_weights"} and set(tao) <= set(native)
    for name, block in tao.items():
        outputs = [re.search(r"output:\n(.*?)    log:", b, re.S)[1] for b in (block, native[name])]
        assert outputs[0] == outputs[1], name
        # GPU is set in the engine's file; a lost node must not end the run.
        assert re.search(r"gpu=(GPU|training_gpu),", block), name
        assert "retries: 0" not in block and "localrule" not in block, name


def test_a_missing_image_stops_at_the_gate(docker, tmp_path):
    docker.have({})
    workspace = tao_workspace(tmp_path / "w", **SIZE)
    done = snakemake(workspace, config=SETTINGS)
    assert done.returncode != 0 and "HARD STOP missing_input" in done.stdout
    assert "docker pull nvcr.io" in done.stdout and "Traceback" not in done.stdout
    assert not docker.calls("run")


@pytest.mark.slow
def test_the_loop_gives_the_native_engines_tables(docker, tmp_path):
    ours, theirs = (tao_workspace(tmp_path / name, **SIZE) for name in ("tao", "native"))
    output = succeed(snakemake(ours, config=SETTINGS))
    assert "[iter 1/1 · train]" in output and "in TAO's container" in output
    succeed(snakemake(theirs, config={**SETTINGS, "engine": "native", "device": "cpu"}))
    for phase in ("baseline", "iter1"):
        for name in SAME:
            a, b = (w / "results" / RUN / phase / name for w in (ours, theirs))
            assert a.read_text() == b.read_text(), f"{phase}/{name}"
    table = f"results/{RUN}/iter1/dataset/train_combined_iter1.csv"
    assert (ours / table).read_text() == (theirs / table).read_text()
    a, b = (load(w, "best_model.json") for w in (ours, theirs))
    for name in ("threshold", "far_pct", "bounds", "iteration", "backbone_type", "lights"):
        assert a[name] == b[name], name
    gaps = [
        pd.read_parquet(w / f"results/{RUN}/baseline/rca_results/a/kpi_gaps.parquet")
        for w in (ours, theirs)
    ]
    names = ["label", "siamese_score", "weakness", "row", "object_name", "light"]
    pd.testing.assert_frame_equal(gaps[0][names], gaps[1][names])
    facts = state(ours)
    assert facts["status"] == "complete" and facts["config"]["train_container"].endswith("-pyt")
    assert [e["stage"] for e in log_entries(ours)] == [e["stage"] for e in log_entries(theirs)]
    # Nothing is left to do, and nothing runs.
    assert plan(ours, config=SETTINGS) == {}
    assert docker.containers() == []
    entries = [call[call.index("--stop-timeout") :] for call in docker.calls("run")]
    stages = [next(w for w in e if w in ("train", "inference", "vcn_aoi")) for e in entries]
    assert stages.count("train") == 2 and stages.count("vcn_aoi") >= 1
    for rule in ("train", "infer", "rca"):  # each again, alone with what it declares
        same_again(ours, job_of(ours, rule), tmp_path / rule)


@pytest.mark.slow
def test_a_killed_snakemake_leaves_a_container_that_resume_ends(docker, tmp_path):
    workspace = tao_workspace(tmp_path / "w", **SIZE)
    docker.fail(train="slow")
    settings = {**SETTINGS, "max_iterations": 0}
    folder = working_folder(workspace)
    with (folder / "output.txt").open("w") as output:
        main = subprocess.Popen(
            snakemake_command(workspace, config=settings),
            cwd=folder,
            env=workflow_tools.clean_environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    until = time.monotonic() + WAIT_S
    while not docker.containers() and time.monotonic() < until:
        assert main.poll() is None, (folder / "output.txt").read_text()[-3000:]
        time.sleep(0.1)
    os.killpg(main.pid, signal.SIGKILL)  # Snakemake and the launcher; the container lives on
    main.wait()
    (left,) = docker.containers()
    assert Path(f"/proc/{left['pid']}").exists()
    docker.fail()
    done = succeed(script(workspace, "resume", "--workspace", ".", "--go-on", "--", *LIMITS))
    assert "ended container deft-" in done and "(baseline train)" in done
    assert not Path(f"/proc/{left['pid']}").exists()
    assert load(workspace, "best_model.json")["iteration"] == "baseline"
    trained = [e for e in log_entries(workspace) if e["stage"] == "train"]
    assert [e["status"] for e in trained] == ["ok"]
    assert json.loads((workspace / "results" / RUN / "deft_state.json").read_text())
