"""The loop as a module of another Snakefile: its rules, its approval, its advice."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from warm_snakemake import run_warm
from workflow_tools import CONFIG, NOTHING, REPOSITORY, clean_environment, planned_rules

pytestmark = [pytest.mark.workflow, pytest.mark.long]

OUTER = """
module deft:
    snakefile: {snakefile!r}
    config: {config!r}


use rule * from deft as deft_*


rule ours:
    default_target: True
    input: rules.deft_all.input


onstart:
    deft.onstart()
onsuccess:
    deft.onsuccess()
onerror:
    deft.onerror()
"""
TRIGGERS = ("--rerun-triggers", "mtime", "params")


def outer(folder: Path, workspace: Path, *args: str, **config: object) -> str:
    """Run Snakemake on a Snakefile that has the loop as a module; return what it printed."""
    settings = {**CONFIG, "approve": True, "live_report": False, "workspace": str(workspace)}
    text = OUTER.format(snakefile=str(REPOSITORY / "Snakefile"), config={**settings, **config})
    folder.mkdir(exist_ok=True)
    (folder / "Snakefile").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *TRIGGERS, *args]
    return run_warm(command, folder, clean_environment(), 300).stdout


def test_a_finished_run_is_finished_as_a_module_too(finished: Path, tmp_path: Path) -> None:
    assert NOTHING in outer(tmp_path / "outer", finished, "-n")


def test_a_fresh_one_plans_the_loop(fresh: Path, tmp_path: Path) -> None:
    plan = planned_rules(outer(tmp_path / "outer", fresh, "-n"))
    assert plan["deft_train"] == 1 and plan["deft_gate"] == 1 and plan["ours"] == 1


def test_a_voided_approval_is_asked_for_with_a_command_that_works(
    workspace: Path, tmp_path: Path
) -> None:
    changed = {"approve": False, "top_k_per_label": 3}
    told = outer(tmp_path / "outer", workspace, **changed)
    assert "HARD STOP approval_missing" in told and "top_k_per_label: 2 → 3" in told
    advice = told.rstrip().splitlines()[-1]
    assert f"--snakefile {REPOSITORY}/Snakefile" in advice and "top_k_per_label=3" in advice
    assert f"workspace={workspace}" in advice and " approve " in advice
