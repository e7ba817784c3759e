"""Every hard stop through the command line: one clear message, nothing half written.

`docs/hard_stops.md` is the table of what these cases really print. `pytest tests/workflow
--update-docs` rewrites it.
"""

from __future__ import annotations

import html
import re
import tempfile
from pathlib import Path

import pytest
from filelock import FileLock
from stage_calls import arguments
from tiny_workspace import make_tiny_workspace
from workflow.hard_stop_cases import CASES, SECOND_EXAMPLES, Case
from workflow_tools import (
    REPOSITORY,
    RUN,
    as_documented,
    changes,
    copy_of,
    log_entries,
    script,
    snakemake,
    state,
    tree,
)

from deft.core.errors import CODES
from deft.core.layout import Run

pytestmark = [pytest.mark.workflow, pytest.mark.long]

DOCUMENT = REPOSITORY / "docs" / "hard_stops.md"
HEAD = """\
# Hard stops

What stops the loop on purpose, and what the terminal then says. Each row is the outcome of a test
(`tests/workflow/hard_stop_cases.py`); `pytest tests/workflow --update-docs` rewrites the table.
A hard stop is never retried. It is said when the command ends, as the last thing on the terminal.

| case | code | message |
|---|---|---|
"""
# What a stop may leave in the run folder, besides the pre-flight files.
RECORDS = re.compile(
    rf"results/(current_run|kept_pictures|embedding_cache/.*|"
    rf"{RUN}/(preflight/(checks|inputs|approval|gate|shards|pictures)\.json|"
    rf"preflight/(summary\.md|pictures\.npz|config\.yaml|pairs\.html)|logs/.*\.log|deft_state\.json|loop_log\.jsonl|\.state\.lock|"
    rf"DEFT_Loop_Report\.html|hard_stops/.*\.json|benchmarks/.*))"
)
MESSAGE = re.compile(r"^HARD STOP (\w+): (.*(?:\n  (?:in|do): .*)*)", re.MULTILINE)


def messages(output: str) -> list[tuple[str, str]]:
    """Return the distinct (code, message) of an output; a repeated one counts once."""
    return list(dict.fromkeys(MESSAGE.findall(output)))


def as_row(case: Case, code: str, message: str, workspace: Path) -> str:
    """Return the case's row of the document."""
    shown = as_documented(message).replace(str(workspace), "<workspace>")
    shown = shown.replace(str(workspace.parent), "<elsewhere>")
    shown = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "<time>", shown)
    shown = re.sub(r"\b[0-9a-f]{12}\b", "<digest>", shown)  # of weights: differ by processor
    cell = "<br>".join(html.escape(line.strip(), quote=False) for line in shown.splitlines())
    cell = cell.replace("|", r"\|").replace("*", r"\*")
    return f"| {case.name} | `{code}` | {cell} |"


def rows_on_disk() -> dict[str, str]:
    """Return case name -> row of the document."""
    if not DOCUMENT.is_file():
        return {}
    lines = [x for x in DOCUMENT.read_text(encoding="utf-8").splitlines() if x.startswith("| ")]
    return {line.split("|")[1].strip(): line for line in lines[1:]}


def update_document(name: str, row: str) -> None:
    """Replace one row; the order is that of the cases."""
    DOCUMENT.parent.mkdir(exist_ok=True)
    with FileLock(Path(tempfile.gettempdir()) / "deft_hard_stops_document.lock"):
        rows = {**rows_on_disk(), name: row}
        text = HEAD + "".join(f"{rows[c.name]}\n" for c in CASES if c.name in rows)
        DOCUMENT.write_text(text, encoding="utf-8")


MARKED = [
    pytest.param(case, id=case.name, marks=[pytest.mark.slow] * case.is_second_example)
    for case in CASES
]


@pytest.mark.parametrize("case", MARKED)
def test_hard_stop(case: Case, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    if case.start == "finished":
        copy_of(request.getfixturevalue("finished"), workspace)
    else:
        sizes = {"base": 6, "validation": 6, "kpi": 6, "pool": 6, "pregen": 2}
        make_tiny_workspace(workspace, **{**sizes, **case.options})
    config = case.provoke(workspace) or {}
    before, logged = tree(workspace), len(log_entries(workspace))

    done = snakemake(workspace, *case.targets, config=config, args=case.args)

    assert done.returncode != 0, done.stdout[-3000:]
    assert "Traceback" not in done.stdout
    assert "MissingInputException" not in done.stdout
    found = messages(done.stdout)
    assert [code for code, _ in found] == [case.code], done.stdout[-3000:]
    message = found[0][1]
    assert [w for w in case.words if w not in message] == [], message
    _nothing_else_happened(case, changes(before, tree(workspace)))
    _recorded(case, workspace, log_entries(workspace)[logged:])
    row = as_row(case, *found[0], workspace)
    if request.config.getoption("--update-docs", default=False):
        update_document(case.name, row)
    assert rows_on_disk().get(case.name) == row, "pytest tests/workflow --update-docs"


def _nothing_else_happened(case: Case, changed: dict[str, str]) -> None:
    assert [p for p in changed if ".tmp" in p or "/.restore_" in p or "/.jobs/" in p] == []
    unexpected = {
        path: what
        for path, what in changed.items()
        if not RECORDS.fullmatch(path) and not (what == "gone" and path.startswith(case.wiped))
    }
    assert unexpected == {}


def _recorded(case: Case, workspace: Path, entries: list[dict]) -> None:
    if case.stage is None:
        assert [e for e in entries if e["status"] == "error" and e["stage"] != "loop_stop"] == []
        return
    phase, stage = case.stage
    errors = [e for e in entries if e["status"] == "error"]
    assert [(e["iter"], e["stage"]) for e in errors] == [(phase, stage), (phase, "loop_stop")]
    assert errors[0]["summary"].startswith(f"{case.code}: ")
    assert errors[1]["summary"] == case.code
    kept = state(workspace)
    assert kept["status"] == "failed"
    assert kept["native"]["hard_stop"]["code"] == case.code
    sequence = [e["seq"] for e in log_entries(workspace)]
    assert sequence == list(range(1, len(sequence) + 1))


def test_every_code_has_a_case() -> None:
    assert {case.code for case in CASES if not case.is_second_example} == set(CODES)
    assert SECOND_EXAMPLES <= {case.name for case in CASES}


def test_the_document_has_the_cases_in_order() -> None:
    assert list(rows_on_disk()) == [case.name for case in CASES]
    assert DOCUMENT.read_text(encoding="utf-8").startswith(HEAD)


def test_second_attempt_repeats_the_stop_without_a_log_line(workspace: Path) -> None:
    from workflow.hard_stop_cases import weights_swapped

    weights_swapped(workspace)
    named = arguments("infer", Run(Path(), RUN), "iter1")
    args = ("--workspace", ".", "--run", RUN, "--phase", "iter1", "--device", "cpu", *named)
    first = script(workspace, "infer", *args, "--attempt", "1")
    logged = log_entries(workspace)
    second = script(workspace, "infer", *args, "--attempt", "2")
    assert first.returncode == second.returncode == 1
    assert messages(first.stdout) == messages(second.stdout) != []
    assert log_entries(workspace) == logged
