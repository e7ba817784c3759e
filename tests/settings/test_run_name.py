"""A run's name is checked by one function wherever it comes from, and names a run that is there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deft.core.errors import HardStop
from deft.settings import config
from deft.settings.run_name import check_run_name, current_run, run_of_command, runs_in_targets

ROOT = Path(__file__).parents[2]
BAD = [
    "run_a; touch x #",
    "run_a b",
    "run_../../elsewhere",
    "../run_a",
    "/tmp/run_a",
    "run_",
    "runa",
    "RUN_a",
    "run_a\nrun_b",
    "run_$(id)",
    "run_`id`",
    "run_{x}",
    "run_ä",
    "run_a\0",
    "run_a'",
    "--help",
    "new",
    "run_" + "a" * 200,
]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    for run in ("run_a", "run_b"):
        (tmp_path / "results" / run).mkdir(parents=True)
    (tmp_path / "results/current_run").write_text("run_a\n")
    return tmp_path


def refused(call, code: str = "config_invalid") -> HardStop:
    with pytest.raises(HardStop) as stop:
        call()
    assert stop.value.code == code and stop.value.fix
    return stop.value


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_a_name_that_is_none_is_refused_wherever_it_stands(workspace, name):
    refused(lambda: check_run_name(name, source="run"))
    if name != "new":
        refused(lambda: config.resolve({"run": name}))
    path = workspace / "results/current_run"
    path.write_text(name)
    stop = refused(lambda: current_run(workspace))
    assert stop.file == str(path) and "preflight --config run=new" in stop.fix


@pytest.mark.parametrize("script", ["evaluate.py", "close_run.py", "report.py", "resume.py"])
def test_scripts_refuse_a_name_on_their_command_line(workspace, script):
    command = [sys.executable, ROOT / "scripts" / script, "--workspace", workspace]
    phase = ["--phase", "baseline"] if script == "evaluate.py" else []
    more = ["--min-recall", "1"] if script == "evaluate.py" else []
    done = subprocess.run(
        [*command, "--run", "../run_a", *phase, *more], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "names the run '../run_a'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "empty"), (b" \n", "empty"), (b"\xff\xferun_a", "names the run"), (b"run_a\0", "\\x00")],
)
def test_a_broken_file_of_the_current_run_is_named(workspace, content, words):
    path = workspace / "results/current_run"
    path.write_bytes(content)
    stop = refused(lambda: current_run(workspace))
    assert words in stop.message and stop.file == str(path)


def test_a_folder_in_the_files_place_is_named(workspace):
    path = workspace / "results/current_run"
    path.unlink()
    assert current_run(workspace) is None
    path.mkdir()
    assert "folder" in refused(lambda: current_run(workspace)).message
    path.rmdir()
    os.mkfifo(path)  # nobody waits for it
    assert "pipe" in refused(lambda: current_run(workspace)).message


def test_line_ends_of_any_editor_are_no_part_of_the_name(workspace):
    for end in ("", "\n", "\r\n"):
        (workspace / "results/current_run").write_text(f"run_b{end}", newline="")
        assert current_run(workspace) == "run_b"
    (workspace / "results/current_run").write_bytes(b"\xef\xbb\xbfrun_b\r\n")  # Windows' editor
    assert current_run(workspace) == "run_b"


def test_a_slip_in_the_file_of_the_current_run_begins_none(workspace):
    path = workspace / "results/current_run"
    path.write_text("run_x\n")
    stop = refused(lambda: run_of_command(workspace, None, ["all"]), "missing_input")
    assert "names run_x: no run run_x; there are run_a, run_b" in stop.message
    assert stop.file == str(path) and "run=new" in stop.fix
    assert run_of_command(workspace, "run_x", []) == "run_x", "named on purpose"
    assert run_of_command(workspace, "new", []) is None
    for run in ("run_a", "run_b"):
        (workspace / "results" / run).rmdir()
    assert run_of_command(workspace, None, []) == "run_x", "no run is left: it begins again"


def test_a_target_names_the_run_of_its_command(workspace):
    of = lambda given, *targets: run_of_command(workspace, given, targets)  # noqa: E731
    assert of(None) == "run_a"
    assert of(None, "results/run_b/iter1/metrics.json") == "run_b"
    assert of(None, "./results//run_b/iter1/metrics.json", "report") == "run_b"
    assert of(None, workspace / "results/run_b/metrics.json") == "run_b"
    assert of(None, "artifacts/runs/run_b/analysis.json") == "run_b"
    assert of("run_b", "results/run_b/x") == "run_b"
    assert of("run_new", "results/run_new/x") == "run_new", "named on purpose"
    assert of("new") is None and of("run_new") == "run_new"
    (workspace / "results/current_run").unlink()
    assert of(None) is None


def test_a_run_that_is_not_there_is_not_begun_by_a_target(workspace):
    stop = refused(
        lambda: run_of_command(workspace, None, ["results/run_x/iter1/metrics.json"]),
        "missing_input",
    )
    assert stop.message == "no run run_x; there are run_a, run_b"
    assert "--config run=run_x" in stop.fix


def test_one_command_works_on_one_run(workspace):
    for given, targets in (
        ("run_a", ["results/run_b/x"]),
        (None, ["results/run_a/x", "results/run_b/x"]),
        ("new", ["results/run_a/x"]),
    ):
        refused(lambda given=given, targets=targets: run_of_command(workspace, given, targets))
    refused(lambda: runs_in_targets(workspace, ["results/run_a; touch x/y"]))
    assert runs_in_targets(workspace, ["all", "results/embedding_cache/x", "x/results/run_q"]) == []


def test_a_target_by_way_of_a_link_is_the_same(workspace, tmp_path):
    link = tmp_path.parent / f"{tmp_path.name}_link"
    os.symlink(workspace, link)
    assert runs_in_targets(workspace, [link / "results/run_b/x"]) == ["run_b"]
