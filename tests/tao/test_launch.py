"""A container does not outlive its launcher: asked to end, killed, resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from stage_calls import arguments as named
from stage_calls import tao_train
from tao_docker import CLEARED
from waiting import WAIT_S, until

from deft.core.errors import StageFailed
from deft.core.layout import Run
from deft.run.containers import running
from deft.run.jobs import AlreadyRunning, end_orphans, registered

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "tao_train.py"
PHASE = "baseline"


@pytest.fixture
def launcher(docker, context, tmp_path):
    """A training that lasts, started as Snakemake starts it."""
    docker.fail(train="slow")
    arguments = ["--workspace", ".", "--run", "run_a", "--phase", PHASE, "--engine", "tao"]
    arguments += ["--random-weights", "true"]
    arguments += named("tao_train", Run(Path(), "run_a"), PHASE)
    log = (tmp_path / "output.txt").open("w")
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), *arguments],
        cwd=context.workspace,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={k: v for k, v in os.environ.items() if k not in CLEARED},
        start_new_session=True,
    )
    try:
        until(lambda: "training slowly" in Path(log.name).read_text() or process.poll(), "epoch 1")
        assert process.poll() is None, Path(log.name).read_text()
        yield process
    finally:
        process.kill()
        process.wait()
        log.close()
        for left in docker.containers():
            os.killpg(left["pid"], signal.SIGKILL)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_request_to_end_ends_the_container_first(docker, context, launcher, tmp_path, number):
    (container,) = docker.containers()
    launcher.send_signal(number)
    assert launcher.wait(timeout=WAIT_S) == 128 + number
    assert f"stopped by {number.name}" in (tmp_path / "output.txt").read_text()
    assert docker.calls("stop") and docker.containers() == []
    until(lambda: not Path(f"/proc/{container['pid']}").exists(), "the container is gone")
    assert running.notes(context.run.dir) == []
    assert not (context.run.phase(PHASE) / "train/weights.json").exists()


def test_a_killed_launcher_leaves_a_container_that_resume_ends(docker, context, launcher):
    launcher.kill()
    launcher.wait()
    (container,) = docker.containers()
    assert Path(f"/proc/{container['pid']}").exists(), "the container lives on"
    with (
        pytest.raises(AlreadyRunning, match="the container deft-.*make resume"),
        registered(context.run.dir, PHASE, "train"),
    ):
        pass
    with pytest.raises(StageFailed, match="still works; `make resume .*` ends it"):
        tao_train(context, PHASE, epochs=1)
    (line,) = end_orphans(context.run.dir)
    assert line.startswith("ended container deft-") and "(baseline train)" in line
    assert docker.containers() == [] and running.notes(context.run.dir) == []
    with registered(context.run.dir, PHASE, "train"):
        pass


def test_a_note_runs_nothing_but_a_known_program(context, tmp_path):
    folder = context.run.dir / running.NOTES_DIR
    folder.mkdir(parents=True)
    for i, facts in enumerate(
        [{"runtime": "sh", "name": "x"}, {"runtime": "docker", "name": "x; touch y"}, {}]
    ):
        facts = {"host": running.socket.gethostname(), "phase": "p", "stage": "s", **facts}
        (folder / f"{i}.json").write_text(json.dumps(facts))
    assert running.notes(context.run.dir) == [] and end_orphans(context.run.dir) == []


def test_a_container_of_another_host_is_told(docker, context):
    folder = context.run.dir / running.NOTES_DIR
    folder.mkdir(parents=True)
    facts = {"host": "node7", "runtime": "docker", "name": "deft-x", "phase": "p", "stage": "s"}
    (folder / "deft-x.json").write_text(json.dumps(facts))
    (line,) = end_orphans(context.run.dir)
    assert "node7" in line and "docker stop deft-x" in line and not docker.calls()
