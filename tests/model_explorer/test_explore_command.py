"""`snakemake explore` as a user types it: the whole folder, moved, run again by its own scripts."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import explore_tools as tools
import pytest
from workflow_tools import REPOSITORY

pytestmark = [pytest.mark.workflow, pytest.mark.long]


def command(config: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``snakemake explore`` typed in ``folder``."""
    line = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
    line += ["--cores", "1", "explore", "--configfile", str(config), "--config", *words]
    return subprocess.run(
        line, cwd=folder, env=tools.clean(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=900, check=False,
    )  # fmt: skip


def typed(tmp_path: Path) -> tuple[Path, Path]:
    """Return a workspace and the folder that commands are typed in."""
    workspace, folder = tmp_path / "work space", tmp_path / "typed here"
    workspace.mkdir(), folder.mkdir()
    return workspace, folder


def test_an_onnx_file_from_the_command_to_a_moved_folder(tmp_path):
    workspace, folder = typed(tmp_path)
    tools.onnx_by_sklearn(folder / "rows.onnx")
    config = tools.write_config(
        tmp_path / "mine.yaml", checkpoint="rows.onnx", name="logistic regression", warm_runs=3,
        batch_sizes=[1, 2], samples=2, environment="running", targets={"latency_median_ms": 1e6},
    )  # fmt: skip
    done = command(config, folder, f"workspace={workspace}", "device=cpu")
    assert done.returncode == 0, done.stdout
    assert "stakeholder-report.md" in done.stdout
    (place,) = (workspace / "tmp").glob("logistic-regression-*")
    before = tools.outputs(place, "stats", "inference", "verdict", "steps")
    assert {s["status"] for s in before["steps"]} == {"ok"}
    assert all((place / s["log"]).is_file() for s in before["steps"])
    assert not list(place.rglob("__pycache__"))
    away = tmp_path / "moved" / "elsewhere"
    away.parent.mkdir()
    shutil.move(place, away)
    shutil.rmtree(workspace)
    reports = {p.name: p.read_bytes() for p in (away / "reports").glob("*report.md")}
    tools.run_again(away, "--reports")
    assert reports == {p.name: p.read_bytes() for p in (away / "reports").glob("*report.md")}
    tools.run_again(away)
    after = tools.outputs(away, "stats", "inference", "verdict", "steps")
    assert after["stats"]["shapes"] == before["stats"]["shapes"]
    assert after["verdict"] == {**before["verdict"], "targets": after["verdict"]["targets"]}
    answers = [[s["answer"] for s in x["inference"]["samples"]] for x in (before, after)]
    assert answers[0] == answers[1]
    assert "run_all.py wrote the files again" in (away / "outputs/README.md").read_text()


def test_a_refusal_is_one_line_of_the_command_and_no_run_is_touched(tmp_path):
    workspace, folder = typed(tmp_path)
    state = workspace / "results/run_a/deft_state.json"
    state.parent.mkdir(parents=True)
    (workspace / "results/current_run").write_text("run_a\n")
    state.write_text('{"version": 2, "status": "finished"}')
    config = tools.write_config(
        tmp_path / "mine.yaml", checkpoint="https://host/m.onnx", name="rows"
    )
    done = command(config, folder, f"workspace={workspace}")
    assert done.returncode != 0 and "Traceback" not in done.stdout
    assert "HARD STOP config_invalid: explore.checkpoint is an address" in done.stdout
    assert not (workspace / "tmp").exists()
    assert json.loads(state.read_text())["status"] == "finished"
    assert sorted(p.name for p in state.parent.iterdir()) == ["deft_state.json"]


def test_a_workspace_is_only_a_place_to_write(tmp_path):
    """Without one, and without the default's folder, the experiment lies where it was typed."""
    _, folder = typed(tmp_path)
    config = tools.write_config(tmp_path / "mine.yaml", checkpoint="no.onnx", name="rows")
    home = tmp_path / "home"
    home.mkdir()
    line = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"),
            "--cores", "1", "-n", "explore", "--configfile", str(config)]  # fmt: skip
    done = subprocess.run(
        line, cwd=folder, env={**tools.clean(), "HOME": str(home)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not (home / "workspace").exists()


def test_a_password_in_an_address_is_not_printed(tmp_path):
    """By Snakemake, which shows the command of a job on request and when the job fails."""
    _, folder = typed(tmp_path)
    address = "https://me:hunter2@host.invalid/upstream"
    config = tools.write_config(tmp_path / "mine.yaml", checkpoint="no.onnx", repository=address)
    line = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"),
            "--cores", "1", "-p", "-n", "explore", "--configfile", str(config)]  # fmt: skip
    done = subprocess.run(
        line, cwd=folder, env=tools.clean(), capture_output=True, text=True, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0 and "explore.py" in said
    assert "hunter2" not in said and "laps may follow" not in said


MAKERS = {
    "timm": ("net.pth", tools.timm_weights, f"timm:{tools.TINY_TIMM}"),
    "torchscript": ("net.pt", tools.torchscript, "my net"),
    "torch_export": ("net.pt2", tools.exported, "my net"),
    "onnx": ("net.onnx", tools.onnx_by_torch, "my net"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_each_format_by_the_command_and_again_from_a_moved_folder(tmp_path, name):
    workspace, folder = typed(tmp_path)
    file, make, called = MAKERS[name]
    make(workspace / file)
    config = tools.write_config(
        tmp_path / "mine.yaml", checkpoint=file, name=called, warm_runs=3, batch_sizes=[1, 2],
        samples=2, train_steps=4, environment="running",
    )  # fmt: skip
    done = command(config, folder, f"workspace={workspace}", "device=cpu")
    assert done.returncode == 0, done.stdout
    (place,) = (p for p in (workspace / "tmp").iterdir() if p.is_dir())
    before = tools.outputs(place, "stats", "inference")
    away = tmp_path / "moved"
    shutil.move(place, away)
    shutil.rmtree(workspace)
    tools.run_again(away)
    after = tools.outputs(away, "stats", "inference")
    assert json.dumps(after["stats"]["shapes"]) == json.dumps(before["stats"]["shapes"])
    for old, new in zip(before["inference"]["samples"], after["inference"]["samples"], strict=True):
        assert old["answer"] == new["answer"]
