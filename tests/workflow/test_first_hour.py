"""docs/first_hour.md is true: its commands run in order and print what the page shows."""

from __future__ import annotations

import csv
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from shown_session import Shown, files_on, is_shown, shown_on
from workflow_tools import REPOSITORY, clean_environment, copy_of_repository

from deft.settings.config import resolve

PAGE = REPOSITORY / "docs" / "first_hour.md"


def test_the_page_is_whole() -> None:
    """Its files are valid and every command has an output that says something."""
    for text in files_on(PAGE).values():
        resolve(yaml.safe_load(text))
    shown = shown_on(PAGE)
    assert len(shown) >= 6 and any(one.trained for one in shown)
    for one in shown:
        assert one.command and one.output.strip(" …\n"), one
        named = [word for word in shlex.split(one.command) if word in files_on(PAGE)]
        assert "--configfile" not in one.command or named, one.command


@pytest.mark.parametrize(
    ("output", "printed", "fits"),
    [
        ("a\n…\nz\n", "a\nb\nc\nz\n", True),
        ("a\n…\nz\n", "a\nz\n", True),
        ("a\nz\n", "a\nb\nz\n", False),
        ("run run_20260101_000000 · 3s\n", "run run_20271231_235959 · 1m 4s\n", True),
        ("FAR 12.5 %\n", "FAR 3 %\n", False),
        ("[train] … rows\n", "[train] 8 epochs on 103 rows\n", True),
        ("[train] … rows\n", "[train] 8 epochs on 103 parts\n", False),
        ("in /home/me/deft-aoi-loop/x\n", "in /root/here/x\n", True),
    ],
)
def test_outputs_are_compared(output: str, printed: str, fits: bool) -> None:
    assert is_shown(Shown("snakemake preflight", output), printed, Path("/root/here")) is fits


def test_numbers_of_a_trained_network_may_differ() -> None:
    shown = Shown("snakemake --configfile a.yaml", "FAR 12.5 % (3/200)\n")
    assert is_shown(shown, "FAR 3 % (1/200)\n", Path("/x"))
    assert not is_shown(shown, "recall 3 % (1/200)\n", Path("/x"))


@pytest.mark.slow
@pytest.mark.workflow
def test_the_page_is_true(tmp_path: Path) -> None:
    root = copy_of_repository(tmp_path / "deft")
    for name, text in files_on(PAGE).items():
        (root / name).write_text(text, encoding="utf-8")
    environment = clean_environment()
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    for shown in shown_on(PAGE):
        done = subprocess.run(
            ["bash", "-c", shown.command],
            cwd=root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1800,
            check=False,
        )
        told = f"$ {shown.command}\n{done.stdout}"
        assert done.returncode == 0, told
        assert is_shown(shown, done.stdout, root), f"the page shows another output than\n{told}"
    with (root / "verdicts.csv").open(encoding="utf-8") as handle:
        verdicts = [row["verdict"] for row in csv.DictReader(handle)]
    assert len(verdicts) == 12 and set(verdicts) == {"PASS", "NO_PASS"}
