"""The loop in real containers: whole, interrupted, killed and resumed."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import workflow_tools
from podman_machine import Podman
from tao_docker import tao_workspace
from waiting import until
from workflow_tools import (
    RUN,
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

pytestmark = [pytest.mark.podman, pytest.mark.workflow]

SIZE = {"base": 8, "validation": 6, "kpi": 8, "pool": 12, "pregen": 2}
SETTINGS = {
    **{"engine": "tao", "container_runtime": "podman", "device": "auto"},
    **{"training_epochs": 1, "max_iterations": 1, "random_weights": True},
}
LIMITS = ("--cores", "2", "--max-threads", "1")
SAME = ("best_val/inference.csv", "latest/inference.csv", "best_val/threshold_metrics.csv")
START_S = 300  # to pre-flight's end and a container's first words, on a busy machine
END_S = 60  # a request to end, podman's answer, the container's removal


def owners(folder: Path) -> set[int]:
    """Return the user ids of everything below a folder."""
    return {p.lstat().st_uid for p in folder.rglob("*")}


def test_the_loop_gives_the_native_engines_tables(podman: Podman, tmp_path, monkeypatch):
    monkeypatch.setenv("AIR_GAPPED", "1")
    environment = {**workflow_tools.clean_environment(), "AIR_GAPPED": "1"}
    monkeypatch.setattr(workflow_tools, "clean_environment", lambda: environment)
    ours, theirs = (tao_workspace(tmp_path / name, **SIZE) for name in ("tao, boards", "native"))
    inputs = {p: p.read_bytes() for p in ours.rglob("*") if p.is_file()}
    output = succeed(snakemake(ours, config=SETTINGS))
    assert "in TAO's container" in output
    native = {**SETTINGS, "engine": "native", "container_runtime": None, "device": "cpu"}
    succeed(snakemake(theirs, config=native))
    for phase in ("baseline", "iter1"):
        for name in SAME:
            a, b = (w / "results" / RUN / phase / "inference" / name for w in (ours, theirs))
            assert a.read_text() == b.read_text(), f"{phase}/{name}"
    table = f"results/{RUN}/iter1/dataset/train_combined_iter1.csv"
    assert (ours / table).read_text() == (theirs / table).read_text()
    assert state(ours)["status"] == "complete"
    assert [e["stage"] for e in log_entries(ours)] == [e["stage"] for e in log_entries(theirs)]
    assert plan(ours, config=SETTINGS) == {}
    assert {p: p.read_bytes() for p in inputs} == inputs, "an input was written"
    assert owners(ours) == {os.getuid()}
    assert not list((ours / "results" / RUN).rglob(".jobs/containers/*"))
    assert not list((ours / "results" / RUN).rglob("tao/*/home"))


def test_a_failure_inside_ends_the_run_with_its_last_lines(podman: Podman, tmp_path):
    workspace = tao_workspace(tmp_path / "w", **SIZE)
    podman.fail(train="status 1")
    done = snakemake(workspace, config={**SETTINGS, "max_iterations": 0})
    assert done.returncode != 0 and "something TAO did not like" in done.stdout
    assert "Traceback" not in done.stdout
    assert not (workspace / "results" / RUN / "baseline/train/weights.json").exists()


@pytest.fixture
def training(podman: Podman, tmp_path) -> Iterator[tuple[subprocess.Popen, Path, str, int]]:
    """A run whose training lasts: Snakemake, workspace, the container's name and first process."""
    workspace = tao_workspace(tmp_path / "w", **SIZE)
    podman.fail(train="slow")
    folder = working_folder(workspace)
    with (folder / "output.txt").open("w") as output:
        main = subprocess.Popen(
            snakemake_command(workspace, config={**SETTINGS, "max_iterations": 0}),
            cwd=folder,
            env=workflow_tools.clean_environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def at_work() -> bool:
        assert main.poll() is None, (folder / "output.txt").read_text()[-3000:]
        return any("training slowly" in podman.run("logs", n).stdout for n in podman.containers())

    try:
        until(at_work, "a training at work", START_S)
        (name,) = podman.containers()
        yield main, workspace, name, podman.pid(name)
    finally:
        if main.poll() is None:
            os.killpg(main.pid, signal.SIGKILL)
        main.wait()
        podman.run("rm", "--all", "--force", "--time", "0")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_to_end_ends_the_container(podman: Podman, training, number):
    main, workspace, _, inside = training
    os.killpg(main.pid, number)
    assert main.wait(timeout=2 * END_S) != 0
    until(lambda: podman.containers() == [], "the container's end", END_S)
    assert not Path(f"/proc/{inside}").exists()
    assert not list((workspace / "results" / RUN).rglob(".jobs/containers/*"))


def test_a_killed_run_leaves_a_container_that_resume_ends(podman: Podman, training):
    main, workspace, name, inside = training
    for pid in {main.pid, *descendants(main.pid)}:  # the launcher and podman's client, too
        os.kill(pid, signal.SIGKILL)
    main.wait()
    assert podman.containers() == [name] and Path(f"/proc/{inside}").exists()
    podman.fail()
    done = succeed(script(workspace, "resume", "--workspace", ".", "--go-on", "--", *LIMITS))
    assert f"ended container {name} (baseline train)" in done
    assert not Path(f"/proc/{inside}").exists()
    assert load(workspace, "best_model.json")["iteration"] == "baseline"
    trained = [e for e in log_entries(workspace) if e["stage"] == "train"]
    assert [e["status"] for e in trained] == ["ok"]


def test_a_container_that_is_killed_fails_its_stage(podman: Podman, training):
    main, workspace, _, inside = training
    os.kill(inside, signal.SIGKILL)
    assert main.wait(timeout=2 * END_S) == 1
    output = (working_folder(workspace) / "output.txt").read_text()
    assert "ended with status 137" in output and "Traceback" not in output
    assert podman.containers() == []


def descendants(pid: int) -> set[int]:
    """Return the processes that a process started, and theirs; not those of podman's monitor."""
    import psutil

    found = psutil.Process(pid).children(recursive=True)
    return {p.pid for p in found if p.name() not in ("conmon",)}
