"""Named root causes on the page: figures with their keys, pictures, nothing made up."""

from __future__ import annotations

import copy
import json

import pytest
from fake_run import TS, FakeRun
from PIL import Image
from run_results import build_results

from deft.record.causes import named_causes
from deft.record.lenient import load_run
from deft.report.check import check_html
from deft.report.render import render_report

SIDE = {
    "parts": 200,
    "wrong": 20,
    "flagged": 30,
    "flagged_wrong": 12,
    "share_pct": 60.0,
    "rate_pct": 40.0,
    "rest_rate_pct": 4.7059,
    "lift": 8.5,
    "p": 1e-7,
    "p_corrected": 2.4e-6,
}
CAUSES = {
    "version": 1,
    "level": 0.01,
    "tests": 24,
    "named": ["registration", "boardname:b7"],
    "causes": [
        {
            "id": "registration",
            "kind": "mechanism",
            "title": "the test picture lies off its golden",
            "cure": "Register.",
            "named": True,
            "examples": [3, 4],
            "misses": None,
            "false_alarms": SIDE,
        },
        {
            "id": "boardname:b7",
            "kind": "group",
            "title": "parts of the board b7",
            "cure": "Look.",
            "named": True,
            "examples": [5],
            "misses": {**SIDE, "lift": None, "rest_rate_pct": 0.0},
            "false_alarms": {**SIDE, "p_corrected": 0.6},
        },
        {
            "id": "rim",
            "kind": "mechanism",
            "title": "at the rim",
            "cure": "Cut.",
            "named": False,
            "examples": [],
            "misses": None,
            "false_alarms": {**SIDE, "p_corrected": 1.0},
        },
    ],
}


def page_of(run: FakeRun, causes: object) -> str:
    best = json.loads(run.decision.read_text())["best_phase"]
    run.json(f"{best}/causes.json", causes)
    folder = run.dir / best / "rca_results" / TS / "rca_images"
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (130, 64), "grey").save(folder / "cause_01_1.png")
    page = render_report(run.dir, run.workspace)
    assert check_html(page, build_results(run.dir, run.workspace)) == []
    html: str = page.read_text()
    return html


@pytest.mark.usefixtures("unsaved_charts")
def test_named_causes_stand_on_the_page_with_their_figures(finished: FakeRun) -> None:
    html = page_of(finished, CAUSES)
    section = html[html.index('<section id="causes">') :].split("</section>")[0]
    assert "lies off its golden" in section and "at the rim" not in section
    assert section.count("<tr>") == 3, "a side that is not sure is left out"
    assert "only there" in section and "2.4e-06" in section and "8.5" in section
    assert section.count("data:image/jpeg") == 1


@pytest.mark.usefixtures("unsaved_charts")
def test_a_run_of_an_earlier_version_has_no_such_section(finished: FakeRun) -> None:
    page = render_report(finished.dir, finished.workspace).read_text()
    assert 'id="causes"' not in page


@pytest.mark.usefixtures("unsaved_charts")
def test_none_named_is_said(finished: FakeRun) -> None:
    html = page_of(finished, {**CAUSES, "named": [], "causes": CAUSES["causes"][2:]})
    assert "No cause is named" in html


@pytest.mark.usefixtures("unsaved_charts")
@pytest.mark.parametrize("spoiled", [{}, [], {"causes": 3}, {"causes": [3, {}, {"named": True}]}])
def test_a_damaged_record_ends_no_page(finished: FakeRun, spoiled: object) -> None:
    page_of(finished, spoiled)


def test_cells_of_another_type_are_left_out(finished: FakeRun) -> None:
    odd = copy.deepcopy(CAUSES)
    odd["causes"][0]["false_alarms"]["share_pct"] = "sixty"
    best = json.loads(finished.decision.read_text())["best_phase"]
    finished.json(f"{best}/causes.json", odd)
    phases = load_run(finished.dir, finished.workspace).phases
    found = named_causes(next(p for p in phases if p.name == best))
    assert [len(one.sides) for one in found] == [0, 1]
