"""The whole page in a real browser: odd labels, a phone, many parts, without JavaScript's help."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from browser import BROWSER, run_script

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))

import fake_run  # noqa: E402
from run_results import build_results  # noqa: E402

from deft.report import instrument  # noqa: E402
from deft.report.check import check_html  # noqa: E402
from deft.report.packed import pack  # noqa: E402
from deft.report.render import render_report  # noqa: E402

pytestmark = [
    pytest.mark.browser,
    pytest.mark.long,
    pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine"),
]

EVIL = "</script><script>window.ran=1</script><img src=x onerror='window.ran=1'>"


def test_a_label_that_is_a_script_is_shown_and_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(fake_run.DEFECTS, EVIL, 5)
    (tmp_path / "w").mkdir()
    run = fake_run.finished(tmp_path / "w")
    page = render_report(run.dir, run.workspace)
    assert check_html(page, build_results(run.dir, run.workspace)) == []
    answer, _ = run_script(
        page, tmp_path / "p", """
        var select = document.querySelector("#failures select[name=verdict]");
        select.value = "all"; select.dispatchEvent(new Event("change"));
        document.getElementById("gallery-more").click();
        var labels = Array.from(document.querySelectorAll(".failure strong"));
        labels.forEach(function (label) { label.closest(".failure").click(); });
        return [window.ran || 0, labels.map(function (label) { return label.textContent; })];""",
    )  # fmt: skip
    ran, labels = answer
    assert ran == 0 and EVIL in labels


def test_a_phone_scrolls_in_one_direction_only(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    run = fake_run.finished(tmp_path / "w")
    page = render_report(run.dir, run.workspace)
    answer, _ = run_script(
        page, tmp_path / "p", """
        document.body.style.width = "400px"; document.documentElement.style.width = "400px";
        var wide = Array.from(document.querySelectorAll("section, .judgement, .failure, svg"))
          .filter(function (e) { return e.getBoundingClientRect().right > 401; })
          .filter(function (e) { return !e.closest(".scroll, figure, .strip"); });
        return wide.map(function (e) { return e.tagName + "#" + e.id + "." + e.className; });""",
    )  # fmt: skip
    assert answer == []


def test_ten_to_the_five_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w").mkdir()
    run = fake_run.finished(tmp_path / "w")
    rng = np.random.default_rng(2)
    scores = rng.beta(1, 6, 100_000).astype(np.float32)
    ng = rng.random(100_000) < 0.03
    monkeypatch.setattr(instrument, "pack", lambda s, n, t: pack(scores, ng, t))
    page = render_report(run.dir, run.workspace)
    data = re.search(r'id="scores-data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert data and len(data[1]) < 2_000_000 and page.stat().st_size < 6_000_000
    answer, _ = run_script(
        page, tmp_path / "p", """
        var typed = document.getElementById("threshold-typed"), out = [];
        ["0.1", "0.30001", "0.7"].forEach(function (value) {
          typed.value = value; typed.dispatchEvent(new Event("input"));
          out.push(["fp", "fn"].map(function (name) {
            return Number(document.querySelector("[data-show=" + name + "]").textContent);
          }));
        });
        return out;""",
    )  # fmt: skip
    for value, found in zip((0.1, 0.30001, 0.7), answer, strict=True):
        above = scores > np.float32(value)
        assert found == [int((above & ~ng).sum()), int((~above & ng).sum())]
