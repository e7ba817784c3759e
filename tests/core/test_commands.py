"""What a message advises is the user's own command with another target."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest
from workflow_tools import REPOSITORY

from deft.core import commands

ADVICE = re.compile(r"\b(snakemake|make resume) +[-\w.]")
# Text that is no advice to paste: what an approval records, and a file's first lines.
TOLD = {
    ("preflight/approval.py", "snakemake approve"),
    ("scripts/resume.py", "make resume WORKSPACE=DIR"),  # the workspace is what is not known
}
SOURCES = [p for p in (REPOSITORY / "scripts" / "deft").rglob("*.py") if p.name != "commands.py"]
SOURCES += sorted((REPOSITORY / "scripts").glob("*.py"))


@pytest.fixture
def noted(monkeypatch):
    """Return a function that notes a command line as the Snakefile does."""
    monkeypatch.setenv(commands.NOTE, "{}")

    def note(line: str, home: str = "/elsewhere") -> None:
        commands.note_command(shlex.split(line), home)

    return note


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("snakemake preflight", "{} approve"),
        ("snakemake", "{} approve"),
        (
            "snakemake preflight --config workspace=/data/line7 run=new approve=true",
            "{} approve --config workspace=/data/line7",
        ),
        (
            "snakemake --config 'kpi=FAR < 1% at recall=99%' workspace=w -n --cores 4",
            "{} approve --cores 4 --config 'kpi=FAR < 1% at recall=99%' workspace=w",
        ),
        (
            "snakemake -C workspace=a --workflow-profile=profiles/gpu -s ../Snakefile -c4 report",
            "{} approve --workflow-profile profiles/gpu -s ../Snakefile -c 4 --config workspace=a",
        ),
        (
            "snakemake report --configfile a.yaml 'b c.yaml' --config workspace=a --config seed=1",
            "{} approve --configfile a.yaml 'b c.yaml' --config seed=1",
        ),
        (
            "snakemake --config workspace=~/line7 --forceall",
            "{} approve --config 'workspace=~/line7'",
        ),
    ],
)
def test_the_same_command_with_another_target(noted, typed, told) -> None:
    noted(typed)
    assert commands.again("approve") == told.format("snakemake")


def test_a_setting_of_the_advice_wins(noted) -> None:
    noted("snakemake --config run=run_a workspace=w")
    assert commands.again("preflight", run="new") == (
        "snakemake preflight --config workspace=w run=new"
    )


def test_without_a_note_the_shortest_form(monkeypatch) -> None:
    monkeypatch.delenv(commands.NOTE, raising=False)
    assert commands.again("approve") == "snakemake approve"
    assert commands.resume("/data/my line") == "make resume 'WORKSPACE=/data/my line'"


def test_make_from_another_folder(noted) -> None:
    noted("snakemake", home="/opt/my deft")
    assert commands.resume("/w") == "make -C '/opt/my deft' resume WORKSPACE=/w"


def test_a_snakemake_that_is_not_on_the_path(noted) -> None:
    noted("/opt/env/bin/snakemake preflight")
    assert commands.again("approve") == "/opt/env/bin/snakemake approve"


def _texts(path: Path) -> list[tuple[int, str]]:
    """Return the texts of a module that are no docstrings, with their lines."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs
    ]


def test_no_message_spells_out_a_command() -> None:
    found = [
        f"{path.name}:{line}: {text}"
        for path in SOURCES
        for line, text in _texts(path)
        if ADVICE.search(text) and not path.parts[-2:] == ("settings", "workspace_file.py")
        if ("/".join(path.parts[-2:]), text) not in TOLD
        and not {"model", "kit"} & set(path.parts)  # comments of the settings' page
    ]
    assert found == [], "use deft.core.commands.again"


def test_a_module_advises_the_project_itself(monkeypatch) -> None:
    monkeypatch.setenv(commands.NOTE, "{}")
    config = {
        "workspace": "/w",
        "kpi": "FAR < 1%, Recall: 98%",
        "seed": 3,
        "demo": {},
        "int8": True,
    }
    words = commands.called_itself("/opt/env/bin/snakemake", "/opt/deft", config)
    commands.note_command(words, "/opt/deft")
    assert commands.again("approve") == (
        "/opt/env/bin/snakemake approve --snakefile /opt/deft/Snakefile --config workspace=/w "
        """'kpi=!!str "FAR < 1%, Recall: 98%" #' seed=3 int8=true"""
    )
