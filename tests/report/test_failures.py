"""Which parts the gallery shows, and what it says of them."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from fake_run import FakeRun
from run_results import build_results

from deft.record import failures
from deft.record.lenient import load_run
from deft.report import gallery
from deft.report.check import check_html
from deft.report.render import render_report
from deft.tables.changenet_table import is_ng

PHASES = ("baseline", "iter1", "iter2")

pytestmark = pytest.mark.usefixtures("unsaved_charts")


def shown(run: FakeRun) -> dict[str, Any]:
    html = render_report(run.dir, run.workspace).read_text()
    found = re.search(r'id="gallery-data">(.*?)</script>', html, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def wrong(run: FakeRun, phase: str) -> pd.DataFrame:
    """Return what a phase decided wrongly by its own recorded threshold, worst first."""
    table = pd.read_csv(run.dir / phase / "inference/best_val/inference.csv")
    metrics = json.loads((run.dir / phase / "metrics.json").read_text())
    threshold = metrics["kinds"]["best_val"]["recall_point"]["threshold"]
    scores = table["siamese_score"].to_numpy(np.float32)
    ng = table["label"].map(is_ng).to_numpy()
    table["depth"] = np.abs(scores - np.float32(threshold))
    table["line"] = np.arange(len(table)) + 2
    failing: pd.DataFrame = table[(scores > np.float32(threshold)) != ng]
    return failing.sort_values("depth", ascending=False, kind="stable")


def test_every_failure_of_every_lap_is_there(built: dict[str, FakeRun]) -> None:
    run = built["finished"]
    data = shown(run)
    lines = {item["line"] for item in data["items"]}
    every = {int(line) for phase in PHASES for line in wrong(run, phase)["line"]}
    assert every and every <= lines
    results = build_results(run.dir, run.workspace)
    assert results["failures.parts"] == results["failures.shown"] == len(every)
    near = len(lines - every)
    assert near <= 2 * failures.NEAR_SHOWN
    for item in data["items"]:
        assert len(item["scores"]) == 3 and item["light"] in ("SolderLight", "WhiteLight")


def test_the_worst_come_first(built: dict[str, FakeRun]) -> None:
    run = built["finished"]
    best = wrong(run, "iter1")["line"].tolist()
    lines = list(dict.fromkeys(item["line"] for item in shown(run)["items"]))
    assert lines[: len(best)] == best


def test_flips_are_counted_against_the_lap_before(built: dict[str, FakeRun]) -> None:
    run = built["finished"]
    results = build_results(run.dir, run.workspace)
    lines = {phase: set(wrong(run, phase)["line"]) for phase in PHASES}
    for before, now in zip(PHASES, PHASES[1:], strict=False):
        assert results[f"{now}.flips.fixed"] == len(lines[before] - lines[now])
        assert results[f"{now}.flips.broke"] == len(lines[now] - lines[before])
    assert "baseline.flips.fixed" not in results and results["iter1.flips.fixed"] > 0
    page = render_report(run.dir, run.workspace)
    assert 'data-key="iter1.flips.fixed"' in page.read_text()
    assert check_html(page, results) == []


def test_of_too_many_the_worst_are_shown_and_counted(
    finished: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "MOST_PARTS", 60)
    data = shown(finished)
    assert len(data["items"]) <= 60
    results = build_results(finished.dir, finished.workspace)
    assert results["failures.shown"] < results["failures.parts"]
    page = render_report(finished.dir, finished.workspace)
    assert check_html(page, results) == []
    assert re.search(r'the worst <span data-key="failures.shown">\d+</span> of', page.read_text())


def test_pictures_that_do_not_fit_are_told(
    finished: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery, "BUDGET_BYTES", 9_000)
    data = shown(finished)
    pictures = [item["picture"] for item in data["items"] if item["picture"]]
    assert 0 < sum(map(len, pictures)) <= 9_000
    html = render_report(finished.dir, finished.workspace).read_text()
    assert "Some pictures did not fit" in html
    assert all(item["test"] for item in data["items"])


def test_links_are_relative_and_lead_to_the_pictures(finished: FakeRun) -> None:
    items = [item for item in shown(finished)["items"] if item["picture"]]
    assert items
    for item in items:
        assert not item["test"].startswith("/")
        assert (finished.dir / unquote(item["test"])).resolve().is_file()
        assert (finished.dir / unquote(item["golden"])).resolve().is_file()
        assert item["at"]


def test_a_path_that_leads_outside_is_not_read(built: dict[str, FakeRun]) -> None:
    files = load_run(built["finished"].dir, built["finished"].workspace)
    cells = {"input_path": "/etc", "golden_path": "golden0"}
    assert gallery._folder(files, cells, "input_path") is None
    assert gallery._folder(files, cells, "golden_path") is not None


def test_a_run_without_scores_has_no_gallery(built: dict[str, FakeRun]) -> None:
    run = built["untouched"]
    assert 'id="failures"' not in render_report(run.dir, run.workspace).read_text()
    assert failures.failures_of(load_run(run.dir, run.workspace), {}, 1) is None
