"""The report in a real browser, without a network."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from browser import BROWSER, browse

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))

import fake_run  # noqa: E402
from run_results import build_results  # noqa: E402

from deft.report.check import check_html  # noqa: E402
from deft.report.render import render_report  # noqa: E402

pytestmark = [
    pytest.mark.browser,
    pytest.mark.long,
    pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine"),
]


@pytest.mark.parametrize("situation", ["finished", "running"])
def test_loads_without_errors_and_keeps_its_keys(tmp_path: Path, situation: str) -> None:
    (tmp_path / "w").mkdir()
    run = fake_run.SITUATIONS[situation](tmp_path / "w")
    page = render_report(run.dir, run.workspace)
    document, logged = browse(page, tmp_path / "profile", "--dump-dom")
    console = [line for line in logged.splitlines() if "CONSOLE" in line]
    assert console == []
    assert 'class="js"' in document  # the script ran
    assert not re.search(r'(?:src|href)="https?:', document)
    (tmp_path / "dom.html").write_text(document)
    assert check_html(tmp_path / "dom.html", build_results(run.dir, run.workspace)) == []


def test_a_script_error_would_be_seen(tmp_path: Path) -> None:
    page = tmp_path / "broken.html"
    page.write_text("<script>nothing.here();</script><img src='https://example.org/a.png'>")
    _, logged = browse(page, tmp_path / "profile", "--dump-dom")
    assert "CONSOLE" in logged
