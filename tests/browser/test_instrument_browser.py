"""The threshold instrument in a real browser, compared with ``inference.csv`` at every stop."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browser import BROWSER, run_script
from scipy.stats import beta

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))

import fake_run  # noqa: E402
from run_results import build_results  # noqa: E402

from deft.report import packed  # noqa: E402
from deft.report.check import check_html  # noqa: E402
from deft.report.render import render_report  # noqa: E402
from deft.tables.changenet_table import is_ng  # noqa: E402

pytestmark = [
    pytest.mark.browser,
    pytest.mark.long,
    pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine"),
]

HELPERS = """
var typed = document.getElementById("threshold-typed");
var chart = document.getElementById("instrument-chart");
function shown() {
  var out = {threshold: typed.value};
  document.querySelectorAll("#instrument [data-show]").forEach(function (p) {
    out[p.getAttribute("data-show")] = p.textContent.replace("\\u00a0%", "");
  });
  return out;
}
function type(value) {
  typed.value = value;
  typed.dispatchEvent(new Event("input"));
  return shown();
}
function key(name) {
  chart.dispatchEvent(new KeyboardEvent("keydown", {key: name}));
  return shown();
}
function click(id) { document.getElementById(id).click(); return shown(); }
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[fake_run.FakeRun, Path]:
    run = fake_run.finished(tmp_path_factory.mktemp("w"))
    return run, render_report(run.dir, run.workspace)


def scored(run: fake_run.FakeRun) -> tuple[np.ndarray, np.ndarray]:
    table = pd.read_csv(run.dir / "iter1/inference/best_val/inference.csv")
    return table["siamese_score"].to_numpy(np.float32), table["label"].map(is_ng).to_numpy()


def judged(scores: np.ndarray, ng: np.ndarray, threshold: str) -> dict[str, Any]:
    """Judge by hand, the threshold read from its text in float64."""
    rejected = scores.astype(np.float64) > float(threshold)
    fp, tp = int((rejected & ~ng).sum()), int((rejected & ng).sum())
    good, bad = int((~ng).sum()), int(ng.sum())
    upper = 1.0 if fp == good else beta.ppf(0.95, fp + 1, good - fp)
    lower = 0.0 if tp == 0 else beta.ppf(0.05, tp, bad - tp + 1)
    return {
        "fp": fp, "fn": bad - tp, "far": 100 * fp / good, "recall": 100 * tp / bad,
        "far_upper": 100 * upper, "recall_lower": 100 * lower,
    }  # fmt: skip


def agree(found: dict[str, str], scores: np.ndarray, ng: np.ndarray) -> None:
    wanted = judged(scores, ng, found["threshold"])
    assert (int(found["fp"]), int(found["fn"])) == (wanted["fp"], wanted["fn"]), found
    for name in ("far", "recall", "far_upper", "recall_lower"):
        assert float(found[name]) == pytest.approx(wanted[name], abs=0.0051), (name, found)


def test_every_stop_agrees_with_the_scores(
    page: tuple[fake_run.FakeRun, Path], tmp_path: Path
) -> None:
    run, path = page
    scores, ng = scored(run)
    answer, document = run_script(
        path, tmp_path, HELPERS + """
        var out = [shown(), key("Home")];
        for (var i = 0; i < 1000; i++) {
          var next = click("threshold-up");
          if (next.threshold === out[out.length - 1].threshold) break;
          out.push(next);
        }
        return out;""",
    )  # fmt: skip
    stops = len(np.unique(scores)) + 1
    first, *every = answer
    assert len(every) == stops
    for found in answer:
        agree(found, scores, ng)
    results = build_results(run.dir, run.workspace)
    assert float(first["threshold"]) == results["best.set_threshold"]
    assert {f["fp"] for f in every} == {str(n) for n in range(int((~ng).sum()) + 1)}
    # What the page worked out carries no key, and what it had from the record still does.
    (tmp_path / "dom.html").write_text(document)
    assert check_html(tmp_path / "dom.html", results) == []


def test_typing_dragging_and_going_back(
    page: tuple[fake_run.FakeRun, Path], tmp_path: Path
) -> None:
    run, path = page
    scores, ng = scored(run)
    part = repr(float(np.sort(scores)[50]))
    answer, document = run_script(
        path, tmp_path, HELPERS + f"""
        var box = chart.querySelector("svg").getBoundingClientRect();
        var out = [type("0.5"), type("{part}"), type("")];
        function at(kind, share) {{
          var x = box.left + share * box.width;
          chart.dispatchEvent(new PointerEvent(kind, {{clientX: x, pointerId: 1, bubbles: true}}));
          return shown();
        }}
        out.push(at("pointerdown", 0.3), at("pointermove", 0.7));
        out.push(at("pointermove", 2), at("pointermove", -1));
        at("pointerup", 0.3); var still = at("pointermove", 0.9);
        out.push(still, key("End"), key("ArrowLeft"), click("threshold-reset"));
        return out;""",
    )  # fmt: skip
    half, own, empty, low, high, right, left, still, end, before, back = answer
    for found in (half, own, low, high, right, left, still, end, before, back):
        agree(found, scores, ng)
    assert half["threshold"] == "0.5" and own["fp"] == str(
        int((scores[~ng] > np.float32(part)).sum())
    )
    assert empty["fp"] == own["fp"]
    assert float(low["threshold"]) < float(high["threshold"]) <= float(right["threshold"])
    assert int(right["fp"]) == 0 and int(left["fp"]) == int((~ng).sum())
    assert still == left  # let go: the line stays
    assert int(end["fn"]) == int(ng.sum()) and end != before
    results = build_results(run.dir, run.workspace)
    assert back["fp"] == str(results["best.fp"])
    assert 'data-show="fp"><span data-key="best' in document or 'data-key="iter1.fp"' in document


def test_the_cheapest_threshold(page: tuple[fake_run.FakeRun, Path], tmp_path: Path) -> None:
    run, path = page
    scores, ng = scored(run)
    answer, _ = run_script(
        path, tmp_path, HELPERS + """
        function cost(a, e) {
          var x = document.getElementById("cost-alarm");
          var y = document.getElementById("cost-escape");
          x.value = a; y.value = e; y.dispatchEvent(new Event("input"));
          var go = document.getElementById("cost-go");
          var told = document.getElementById("cost-told").textContent;
          if (!go.hidden) go.click();
          return [go.hidden, told, shown()];
        }
        return [cost(1, 20), cost(1, 1), cost(5, 0), cost("", 3), cost(-1, 3)];""",
    )  # fmt: skip
    for (alarm, escape), (hidden, told, found) in zip(
        ((1, 20), (1, 1), (5, 0)), answer[:3], strict=True
    ):
        sums = [
            alarm * int((scores[~ng] > t).sum()) + escape * int((scores[ng] <= t).sum())
            for t in np.concatenate([[-1], np.unique(scores)])
        ]
        assert not hidden and f"cheapest {min(sums)} at" in told
        agree(found, scores, ng)
        assert alarm * int(found["fp"]) + escape * int(found["fn"]) == min(sums)
    assert [hidden for hidden, *_ in answer[3:]] == [True, True]


def test_many_parts_are_grouped_far_from_the_target(
    page: tuple[fake_run.FakeRun, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Near the target every step is exact; elsewhere a step is a group, with its exact count."""
    run, _ = page
    scores, ng = scored(run)
    monkeypatch.setattr(packed, "EXACT_STEPS", 40)
    monkeypatch.setattr(packed, "GROUPS", 4)
    path = tmp_path / "page.html"
    path.write_bytes(render_report(run.dir, run.workspace).read_bytes())
    answer, _ = run_script(
        path, tmp_path / "p", HELPERS + """
        var out = [key("Home")];
        for (var i = 0; i < 1000; i++) {
          var next = click("threshold-up");
          if (next.threshold === out[out.length - 1].threshold) break;
          next.told = !document.getElementById("instrument-steps").hidden;
          out.push(next);
        }
        return out;""",
    )  # fmt: skip
    assert 40 < len(answer) <= 40 + 2 * 2 * 4 + 1
    inside = [f for f in answer[1:] if not f["told"]]
    assert 38 <= len(inside) < len(answer)
    for found in inside:
        agree(found, scores, ng)
    fine = {f["fp"] + "/" + f["fn"] for f in answer}
    true = {
        f"{int((scores[~ng] > t).sum())}/{int((scores[ng] <= t).sum())}"
        for t in np.concatenate([[-1], np.unique(scores)])
    }
    assert len(fine - true) <= 2 * 2 * 4  # a group of one kind may end between two of the other
    render_report(run.dir, run.workspace)


def test_colours_and_counts_are_named(page: tuple[fake_run.FakeRun, Path], tmp_path: Path) -> None:
    answer, _ = run_script(
        page[1], tmp_path, """
        function all(at, asked) { return Array.from(document.querySelectorAll(at)).map(asked); }
        function text(e) { return e.textContent.trim(); }
        var told = all("#instrument .legend .dot", function (d) {
          return [getComputedStyle(d).backgroundColor, text(d.parentNode)];
        });
        var fills = all("#instrument-chart rect", function (b) {
          return getComputedStyle(b).fill;
        });
        return [told, Array.from(new Set(fills)), all("#instrument-chart text", text)];""",
    )  # fmt: skip
    told, fills, texts = answer
    assert [colour for colour, _ in told] == fills  # good parts are drawn first
    assert [name for _, name in told] == ["good parts", "defects"]
    assert "parts, log scale" in texts and {"1", "2", "5", "10"} <= set(texts)
