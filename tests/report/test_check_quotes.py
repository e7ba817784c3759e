"""`check_quotes` on a finished run: report, knowledge base and texts given to it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fake_run import RUN, FakeRun

from deft.record.artifacts import artifacts_dir, write_artifacts
from deft.record.handoff import write_handoff
from deft.record.phrases import PERCENT, shown
from deft.report.render import render_report
from dl_lab.markdown_passages import markdown_passages
from dl_lab.quotes import found_in

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]


def check(run: FakeRun, files: str = "") -> subprocess.CompletedProcess[str]:
    """Call the rule's own command."""
    command = [sys.executable, str(ROOT / "scripts/check_quotes.py"), "--run", RUN]
    return subprocess.run(
        [*command, "--workspace", str(run.workspace), "--files", files],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def recorded(finished: FakeRun, unsaved_charts: None) -> FakeRun:
    """A finished run with hand-off, record and report."""
    write_handoff(finished.dir, finished.workspace, finished.decision)
    write_artifacts(
        finished.dir, finished.workspace, command="snakemake", seed=7, code_dir=finished.workspace
    )
    render_report(finished.dir, finished.workspace)
    return finished


def test_the_run_itself_agrees(recorded: FakeRun) -> None:
    done = check(recorded)
    assert done.returncode == 0, done.stderr
    assert "DEFT_Loop_Report.html: every number agrees with its key" in done.stdout
    counts = {line.split(": ")[1] for line in done.stdout.splitlines() if "evaluation.md" in line}
    assert counts and "0 of 0 quoted numbers agree" not in counts


def test_a_planted_error_is_named_with_its_line(recorded: FakeRun) -> None:
    results = json.loads((artifacts_dir(recorded.workspace, RUN) / "analysis.json").read_text())
    far = results["results"]["iter1.far_pct"]
    paper = recorded.workspace / "paper draft.tex"
    paper.write_text(
        f"Lap one: {far:.2f}\\,\\% % analysis.json:results.iter1.far_pct\n"
        f"Lap two: {far + 1:.2f}\\,\\% % analysis.json:results.iter1.far_pct\n"
    )
    done = check(recorded, "'paper draft.tex'")
    assert done.returncode == 1
    assert "paper draft.tex:2: iter1.far_pct: shows" in done.stderr
    assert "Traceback" not in done.stderr
    page = recorded.dir / "DEFT_Loop_Report.html"
    page.write_text(page.read_text().replace("</body>", "<p>42 boards saved</p></body>"))
    done = check(recorded)
    assert done.returncode == 1 and "a number without a key: '42 boards saved'" in done.stderr
    page.write_text(
        page.read_text().replace("<p>42 boards saved</p>", '<b data-key="iter1.fp">987654</b>')
    )
    done = check(recorded)
    assert done.returncode == 1 and "iter1.fp: shows 987654" in done.stderr


def test_the_projects_own_pages_point_nowhere_by_mistake() -> None:
    """A page about pointers shows them as code; a misspelt one would be a quote here."""
    for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")):
        found = found_in(markdown_passages(page.read_text(encoding="utf-8")))
        assert not found.quotes and not found.faults, page


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (99.996, PERCENT, "99.996"),
        (100.0, PERCENT, "100.00"),
        (99.97, "%.1f\u00a0%%", "99.97"),
        (0.04, "%.1f\u00a0%%", "0.04"),
        (0.0, "%.1f\u00a0%%", "0.0"),
        (12.3999, PERCENT, "12.40"),
    ],
)
def test_a_rate_is_shown_as_all_or_none_only_when_it_is(value: float, form: str, text: str) -> None:
    assert shown({"k": value}, "k", form) == f"{text}\u00a0%"


@pytest.mark.parametrize(
    ("files", "said"), [("nothing.md", "is not there"), ("a.docx", ".html, .md and .tex")]
)
def test_refuses(recorded: FakeRun, files: str, said: str) -> None:
    (recorded.workspace / "a.docx").write_text("x")
    done = check(recorded, files)
    assert done.returncode != 0 and said in done.stderr and "Traceback" not in done.stderr


def test_a_run_without_a_record_is_told_so(finished: FakeRun) -> None:
    shutil.rmtree(artifacts_dir(finished.workspace, RUN), ignore_errors=True)
    done = check(finished)
    assert done.returncode != 0 and "analysis.json" in done.stderr
    assert "Traceback" not in done.stderr
