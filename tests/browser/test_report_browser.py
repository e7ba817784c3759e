"""The report in a real browser, without a network."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))

import fake_run  # noqa: E402

from deft.report import build_results, render_report  # noqa: E402
from deft.report.check import check_html  # noqa: E402

BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine"),
]


def browse(page: Path, profile: Path, *options: str) -> tuple[str, str]:
    """Load a page and return the document after its scripts ran, and what was logged."""
    done = subprocess.run(
        [
            str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", f"--user-data-dir={profile}",
            # Nothing resolves: a page that needs the network would say so.
            "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--v=0",
            *options, page.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout, done.stderr


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


def test_moving_the_slider_shows_other_values_with_their_keys(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    run = fake_run.finished(tmp_path / "w")
    page = render_report(run.dir, run.workspace)
    move = (
        "<script>var s=document.getElementById('whatif-slider');s.value=0;"
        "s.dispatchEvent(new Event('input'));</script></body>"
    )
    page.write_text(page.read_text().replace("</body>", move))
    document, _ = browse(page, tmp_path / "profile", "--dump-dom")
    assert 'data-key="whatif.00.threshold"' in document
    (tmp_path / "dom.html").write_text(document)
    assert check_html(tmp_path / "dom.html", build_results(run.dir, run.workspace)) == []
