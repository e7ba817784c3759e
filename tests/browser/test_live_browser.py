"""A page of a run that works, in a real browser: it tells by itself when it is written no more."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import pytest
from browser import BROWSER, browse, console

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))

import fake_run  # noqa: E402

from deft.report import live  # noqa: E402
from deft.report.render import render_report  # noqa: E402

pytestmark = [
    pytest.mark.browser,
    pytest.mark.long,
    pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine"),
]
SHOWN = re.compile(r'<p id="live-stale"(?P<hidden>[^>]*)>')


@pytest.fixture(scope="module")
def written_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    run = fake_run.running(tmp_path_factory.mktemp("w"))
    return render_report(run.dir, run.workspace).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("age_s", "watched_s", "told"),
    [
        (0, 1, False),  # just written
        (live.STALE_S - 60, 20, False),
        (live.STALE_S - 10, 20, True),  # grows old while it is looked at
        (live.STALE_S + 60, 1, True),  # was old when it was opened
    ],
)
def test_a_page_that_nobody_writes_says_so(
    written_page: str, tmp_path: Path, age_s: int, watched_s: int, told: bool
) -> None:
    text, page = written_page, tmp_path / "page.html"
    (written,) = re.findall(r'data-written="(\d+)"', text)
    text = text.replace(f'data-written="{written}"', f'data-written="{int(time.time()) - age_s}"')
    (refresh,) = re.findall(r'<meta http-equiv="refresh"[^>]*>', text)
    page.write_text(text.replace(refresh, ""), encoding="utf-8")  # one page is watched
    budget = f"--virtual-time-budget={1000 * watched_s}"
    document, logged = browse(page, tmp_path / "profile", "--dump-dom", budget)
    assert console(logged) == []
    found = SHOWN.search(document)
    assert found and ("hidden" not in found["hidden"]) == told
