"""Resuming a copy works on the copy: its notes speak of the original, which is left alone."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from snakemake.cli import get_argument_parser, parse_config
from snakemake.common.configfile import load_configfile

from deft.core.layout import Run
from deft.run.jobs import AlreadyRunning, commands, end_orphans, note_command, orphans, registered
from deft.run.place import foreign_place

ROOT = Path(__file__).parents[2]
RUN = "run_a"


def script():
    spec = importlib.util.spec_from_file_location("resume", ROOT / "scripts/resume.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


resume = script()


@pytest.fixture
def original(tmp_path: Path) -> Path:
    workspace = tmp_path / "original"
    run = workspace / "results" / RUN
    (run / "preflight").mkdir(parents=True)
    (workspace / ".snakemake").mkdir()
    (workspace / "results/current_run").write_text(f"{RUN}\n")
    settings = f"workspace: {workspace}\nrun: {RUN}\nencoder_weights: {workspace}/w\n"
    (run / "preflight/config.yaml").write_text(settings)
    return workspace


WORK = """
import sys, time
sys.path.insert(0, {scripts!r})
from deft.run.jobs import note_command, registered
from pathlib import Path
note_command(Path("."), "run_a", None)
with registered("results/run_a", "baseline", "train"):
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def working(original: Path):
    """A command and its stage that work in the original."""
    code = WORK.format(scripts=str(ROOT / "scripts"))
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=original, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.wait()


def copied(original: Path) -> Path:
    copy = original.parent / "a copy #1: second"
    shutil.copytree(original, copy)
    return copy


def without_folder(workspace: Path) -> None:
    """Make the notes those of an earlier version, which named no folder."""
    paths = [
        *workspace.glob("results/*/.jobs/*.json"),
        workspace / ".snakemake/deft_commands.jsonl",
    ]
    for path in paths:
        note = json.loads(path.read_text())
        del note["run_dir"]
        path.write_text(json.dumps(note) + "\n")


@pytest.mark.parametrize("old_notes", [False, True])
def test_the_originals_processes_are_left_alone(original, working, old_notes, capsys):
    copy = copied(original)
    if old_notes:
        without_folder(copy)
    run = Run(copy, RUN)
    assert orphans(run.dir) == [] and end_orphans(run.dir) == []
    assert resume.leave_the_originals(run, commands(copy, RUN)) == []
    assert f"copy of {original}/results/{RUN}" in capsys.readouterr().out
    with registered(run.dir, "baseline", "train"):  # nobody works on the copy's
        assert working.poll() is None
    # The original's own are its own.
    assert len(orphans(original / "results" / RUN)) == 1
    with pytest.raises(AlreadyRunning), registered(original / "results" / RUN, "baseline", "train"):
        pass


def test_a_moved_workspace_keeps_its_notes(original, working):
    moved = original.parent / "moved"
    original.rename(moved)
    assert len(orphans(moved / "results" / RUN)) == 1
    (line,) = end_orphans(moved / "results" / RUN, grace_s=20)
    assert "ended orphan" in line and working.wait(20) is not None


def test_a_link_to_the_workspace_is_the_same_place(original, tmp_path):
    link = tmp_path / "link"
    os.symlink(original, link)
    note_command(original, RUN, None)
    (note,) = commands(link, RUN)
    assert foreign_place(note, link / "results" / RUN) is None


class Ran:
    """Stands for subprocess.run; keeps what would have been started."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []

    def __call__(self, command, **_):
        self.commands.append(command)
        return subprocess.CompletedProcess(command, 0)


def config_of(command: list[str]) -> dict:
    """What Snakemake makes of a command line."""
    arguments = get_argument_parser().parse_args(command[command.index("-s") :])
    found = {}
    for path in arguments.configfile or []:
        found |= load_configfile(path)
    return found | parse_config(arguments.config)


@pytest.mark.parametrize(
    "extra",
    [
        [],
        ["--cores", "2", "--config", "seed=3", "workspace=/elsewhere", "run=run_b"],
        ["--config", "seed=3", "--cores", "2", "--config", "max_iterations=1"],
        ["results/run_a/best_model.json", "-C", "kpi=FAR < 1%"],
        ["--config=seed=3", "--cores", "2"],
        ["-Cseed=3", "--cores", "2"],
    ],
)
def test_the_folder_that_is_named_wins(original, monkeypatch, capsys, extra):
    copy, ran = copied(original), Ran()
    monkeypatch.setattr(resume.subprocess, "run", ran)
    assert resume.go_on(Run(copy, RUN), extra) == 0
    unlock, go = ran.commands
    assert "--unlock" in unlock and "--unlock" not in go
    for command in ran.commands:
        found = config_of(command)
        assert (found["workspace"], found["run"]) == (str(copy), RUN)
    if extra[-2:] != ["--config", "max_iterations=1"] and "seed=3" in "".join(extra):
        assert found["seed"] == 3
    out = capsys.readouterr().out
    assert f"recorded in {original}; this resumes {copy}" in out
    assert f"encoder_weights still names {original}/w" in out


@pytest.mark.parametrize(
    "path",
    [
        "/a b",
        "/a: b",
        "/a #b",
        "/a'",
        '/a"b',
        "/a\\",
        "/ä😀",
        "/a\x85b",
        "/a\u2028 b",
        "/a\x7f",
        "/{a}",
    ],
    ids=ascii,
)
def test_a_path_arrives_as_it_is(path):
    assert parse_config([f"workspace={resume.as_typed(path)}"])["workspace"] == path


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda w: (w / "results/current_run").write_text("run_a; touch PWNED #"), "names the run"),
        (lambda w: (w / "results/current_run").write_text(""), "is empty"),
        (
            lambda w: (w / "results/current_run").write_text("run_z\n"),
            "no run run_z; there is run_a",
        ),
        (lambda w: (w / "results/current_run").unlink(), "no current run; there is run_a"),
        (lambda w: shutil.rmtree(w), "is not a folder"),
    ],
)
def test_what_cannot_be_resumed_is_one_line(original, damage, words):
    damage(original)
    command = [sys.executable, ROOT / "scripts/resume.py", "--workspace", original, "--go-on"]
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and words in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and time.monotonic() - started < 30
    assert not list(original.parent.rglob("PWNED"))
