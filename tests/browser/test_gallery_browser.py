"""The gallery in a real browser: its filters count what ``inference.csv`` counts."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browser import BROWSER, run_script

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))

import fake_run  # noqa: E402

from deft.report.render import render_pages, render_report  # noqa: E402
from deft.tables.changenet_table import is_ng  # noqa: E402

pytestmark = [
    pytest.mark.browser,
    pytest.mark.long,
    pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine"),
]

PHASES = ("baseline", "iter1", "iter2")
HELPERS = """
var root = document.getElementById("failures");
function choose(name, value) {
  var select = root.querySelector("select[name=" + name + "]");
  select.value = value;
  select.dispatchEvent(new Event("change"));
}
function cards() { return Array.from(root.querySelectorAll(".failure")); }
function line(card) { return Number(card.getAttribute("data-line")); }
function lines() {
  var more = document.getElementById("gallery-more");
  if (!more.hidden) more.click();
  return cards().map(line);
}
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[fake_run.FakeRun, Path]:
    run = fake_run.finished(tmp_path_factory.mktemp("w"))
    return run, render_report(run.dir, run.workspace)


def decided(run: fake_run.FakeRun) -> tuple[pd.DataFrame, dict[str, np.ndarray], np.ndarray]:
    table, above = pd.DataFrame(), {}
    for phase in PHASES:
        table = pd.read_csv(run.dir / phase / "inference/best_val/inference.csv")
        metrics = json.loads((run.dir / phase / "metrics.json").read_text())
        threshold = metrics["kinds"]["best_val"]["recall_point"]["threshold"]
        above[phase] = table["siamese_score"].to_numpy(np.float32) > np.float32(threshold)
    return table, above, table["label"].map(is_ng).to_numpy()


def test_filters_show_what_the_table_counts(
    page: tuple[fake_run.FakeRun, Path], tmp_path: Path
) -> None:
    run, path = page
    answer, _ = run_script(
        path, tmp_path, HELPERS + """
        var out = {};
        [0, 1, 2].forEach(function (lap) {
          choose("lap", lap);
          ["false alarm", "miss", "failures", "fixed", "broke"].forEach(function (kind) {
            choose("verdict", kind); choose("light", "SolderLight");
            out[lap + kind] = lines();
            choose("label", "PASS"); out[lap + kind + "PASS"] = lines(); choose("label", "");
          });
        });
        return out;""",
    )  # fmt: skip
    table, above, ng = decided(run)
    wrong = {phase: above[phase] != ng for phase in PHASES}
    good = (table["label"] == "PASS").to_numpy()
    for lap, phase in enumerate(PHASES):
        before = wrong[PHASES[lap - 1]] if lap else wrong[phase]
        wanted = {
            "false alarm": wrong[phase] & ~ng,
            "miss": wrong[phase] & ng,
            "failures": wrong[phase],
            "fixed": before & ~wrong[phase],
            "broke": wrong[phase] & ~before,
        }
        for kind, rows in wanted.items():
            found = answer[f"{lap}{kind}"]
            assert sorted(found) == (np.flatnonzero(rows) + 2).tolist(), (phase, kind)
            passed = answer[f"{lap}{kind}PASS"]
            assert sorted(passed) == (np.flatnonzero(rows & good) + 2).tolist(), (phase, kind)
    assert any(answer[f"{lap}fixed"] for lap in (1, 2))
    assert any(answer[f"{lap}broke"] for lap in (1, 2))


def test_the_order_and_the_threshold_of_the_instrument(
    page: tuple[fake_run.FakeRun, Path], tmp_path: Path
) -> None:
    run, path = page
    answer, _ = run_script(
        path, tmp_path, HELPERS + """
        var out = {};
        choose("verdict", "failures"); choose("light", "SolderLight"); choose("lap", 0);
        ["worst", "high", "low", "name"].forEach(function (o) {
          choose("order", o); out[o] = lines();
        });
        choose("verdict", "miss"); choose("lap", 1);
        out.before = lines();
        var typed = document.getElementById("threshold-typed"), values = out.values = [];
        typed.value = "0.97"; typed.dispatchEvent(new Event("input"));
        choose("verdict", "miss");
        out.after = lines();
        return out;""",
    )  # fmt: skip
    _, above, ng = decided(run)

    def by_line(phase: str) -> dict[int, float]:
        scored = pd.read_csv(run.dir / phase / "inference/best_val/inference.csv")
        return dict(enumerate(scored["siamese_score"], start=2))

    first, scores = by_line("baseline"), by_line("iter1")
    assert len(answer["worst"]) == int((above["baseline"] != ng).sum()) > 2
    ranked = [first[line] for line in answer["high"]]
    assert ranked == sorted(ranked, reverse=True)
    assert [first[line] for line in answer["low"]] == sorted(ranked)
    assert answer["before"] == []  # recall 100 %
    missed = [line for line, score in scores.items() if ng[line - 2] and score <= 0.97]
    assert set(answer["after"]) <= set(missed) and len(answer["after"]) >= min(12, len(missed)) > 0


def test_the_keyboard(page: tuple[fake_run.FakeRun, Path], tmp_path: Path) -> None:
    _, path = page
    answer, _ = run_script(
        path, tmp_path, HELPERS + """
        function key(name) {
          document.activeElement.dispatchEvent(
            new KeyboardEvent("keydown", {key: name, bubbles: true}));
          return cards().indexOf(document.activeElement);
        }
        choose("verdict", "all");
        cards()[0].focus();
        var out = [key("ArrowRight"), key("j"), key("ArrowLeft"), key("k"), key("k")];
        key("Enter");
        var dialog = document.getElementById("gallery-large");
        out.push(dialog.open, dialog.textContent.indexOf("of the KPI table") > 0);
        var first = dialog.textContent; key("ArrowRight");
        out.push(first !== dialog.textContent);
        dialog.close();
        return out.concat([dialog.open]);""",
    )  # fmt: skip
    found: list[Any] = answer
    assert found == [1, 2, 1, 0, 0, True, True, True, False]


def test_the_page_of_a_phase_leads_to_its_own_failures(
    page: tuple[fake_run.FakeRun, Path], tmp_path: Path
) -> None:
    run, path = page
    pages, problems = render_pages(run.dir, run.workspace, "baseline")
    assert problems == []
    written = next(p for p in pages if p.parent.name == "baseline").read_text()
    (address,) = re.findall(r'href="([^"#]*DEFT_Loop_Report.html#[^"]*)"', written)
    target, _, fragment = address.partition("#")
    assert (run.dir / "baseline" / target).resolve() == path.resolve()
    told = """
        location.hash = "#HASH"; var again = document.createElement("script");
        var scripts = Array.from(document.scripts).filter(function (s) {
          return s.textContent.indexOf("gallery-list") > 0 && s !== document.currentScript; });
        root.querySelectorAll("select[name=lap] option").forEach(function (o) { o.remove(); });
        again.textContent = scripts[0].textContent; document.body.appendChild(again);
        return [root.querySelector("select[name=lap]").selectedOptions[0].textContent,
                document.getElementById("gallery-told").textContent, window.scrollY > 0];"""
    answer, _ = run_script(path, tmp_path, HELPERS + told.replace("HASH", fragment))
    lap, shown, scrolled = answer
    _, above, ng = decided(run)
    wrong = int((above["baseline"] != ng).sum())
    assert lap == "baseline" and scrolled
    assert shown.startswith(f"{wrong} part") and "of baseline" in shown
    alarms, misses = int((above["baseline"] & ~ng).sum()), int((~above["baseline"] & ng).sum())
    assert re.search(rf": {alarms} false alarms?, {misses} miss(es)?$", shown)
