"""A shell in which nothing is activated: what `make` starts and what is submitted finds its way."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
ALLOCATION = REPOSITORY / "profiles/slurm/allocation.sh"
WAIT_S = 60
BARE = {"HOME": os.environ.get("HOME", "/"), "PATH": "/usr/bin:/bin"}
# What a recipe may start beside the environment's own programs.
SHELL_WORDS = {
    "grep",
    "sed",
    "echo",
    "touch",
    "test",
    "rm",
    "python3",
    "cat",
    "exit",
    "env",
    "{",
    "}",
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """What the script looks for, its snakemake a stand-in that says what it got."""
    root = tmp_path / "repository"
    (root / "profiles/slurm").mkdir(parents=True)
    (root / "Snakefile").touch()
    stand_in(root / ".venv/bin/snakemake", "venv")
    return root


def stand_in(path: Path, name: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\necho "{name}: $*"; command -v snakemake\n')
    path.chmod(0o755)


def submitted(repository: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the batch script as a job does that got nothing of the submitting shell."""
    return subprocess.run(
        ["bash", str(ALLOCATION), "--config", "workspace=/data/line 7"],
        env={**BARE, "SLURM_SUBMIT_DIR": str(repository), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )


def test_the_batch_script_takes_the_repositorys_environment(repository: Path) -> None:
    done = submitted(repository)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("venv: --workflow-profile profiles/default --cores 1")
    assert first.endswith("--config workspace=/data/line 7")
    # Absolute: a rule that changes its folder still finds it.
    assert second == str(repository / ".venv/bin/snakemake")


def test_an_activated_environment_and_a_named_one_come_first(
    repository: Path, tmp_path: Path
) -> None:
    stand_in(tmp_path / "conda/bin/snakemake", "conda")
    done = submitted(repository, PATH=f"{tmp_path}/conda/bin:/usr/bin:/bin")
    assert done.stdout.startswith("conda: ")
    stand_in(tmp_path / "other/bin/snakemake", "other")
    assert submitted(repository, VENV=str(tmp_path / "other")).stdout.startswith("other: ")


def test_without_any_environment_it_says_how_to_get_one(repository: Path) -> None:
    shutil.rmtree(repository / ".venv")
    done = submitted(repository)
    assert done.returncode == 1 and "make .venv/.installed" in done.stderr


def test_every_recipe_starts_programs_of_the_environment() -> None:
    """`make -n` under an empty environment: no recipe relies on what only activation gives."""
    makefile = (REPOSITORY / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE).group(1).split()
    assert len(targets) > 10
    installed = ["-o", ".venv/.installed", "-o", ".venv/.installed-dev"]
    command = ["make", "-n", "-B", *installed, "OUT=out", "NAME=name", "WORKSPACE=ws", *targets]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=BARE, capture_output=True, text=True, timeout=WAIT_S
    )
    assert done.returncode == 0, done.stderr
    words = {line.split()[0] for line in done.stdout.splitlines() if line.strip()}
    assert {w for w in words if not w.startswith(".venv/bin/")} <= SHELL_WORDS, words
    assert {".venv/bin/pytest", ".venv/bin/snakemake", ".venv/bin/python"} <= words


def test_a_test_that_waits_in_vain_has_an_end(tmp_path: Path) -> None:
    """The suite's own watchdog, with a second in place of its half hour."""
    conftest = (REPOSITORY / "tests/conftest.py").read_text()
    assert "None: 1800" in conftest
    (tmp_path / "conftest.py").write_text(conftest.replace("None: 1800", "None: 1"))
    (tmp_path / "test_waits.py").write_text(
        "import subprocess, time, pytest\n"
        "@pytest.fixture\ndef late(): time.sleep(600)\n"
        'def test_program(): subprocess.run(["sleep", "600"])\n'
        "def test_fixture(late): pass\n"
        "def test_other(): pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        [*command, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, timeout=WAIT_S
    )
    assert "1 failed, 1 passed, 1 error" in done.stdout, done.stdout
    assert "test_program: 1 s, and it still waits" in done.stdout
