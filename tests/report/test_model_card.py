"""The model's card: every figure is the record's, and what limits it is named."""

from __future__ import annotations

import re

import fake_run

from deft.record.best import read_best
from deft.record.model_card import CARD_FILE, card_text, write_card
from deft.record.results import collect_results


def test_the_card_says_what_on_which_data_how_good_and_where_not(
    finished: fake_run.FakeRun,
) -> None:
    path = write_card(finished.dir, finished.workspace, finished.decision)
    text = path.read_text()
    assert path == finished.dir / CARD_FILE
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert titles == [
        "What it is", "What it is for", "Data", "Figures on the KPI set",
        "How far they can be trusted", "Limits",
    ]  # fmt: skip
    best = read_best(finished.dir, finished.workspace, finished.decision)
    results = collect_results(best.files)
    threshold = f"above {results['best.set_threshold']:.9g} "
    assert threshold in text
    counts = f"({results['best.fp']:.0f}/{results['best.pass']:.0f} good parts rejected, at most "
    assert counts in text and "bounds one-sided, 95 %" in text
    for label in fake_run.DEFECTS:
        caught = results[f"{best.phase}.labels.{label}.caught"]
        assert f"- {label}: {caught:.0f}/{fake_run.DEFECTS[label]} caught, at least" in text
    assert "| kpi_testing_set |" in text and best.export["sha256"] in text
    assert "set this threshold" in text and "no phase has seen" in text
    assert card_text(best, results) == text, "the same run, the same card"


def test_corrections_and_synthetic_rows_are_limits(finished: fake_run.FakeRun) -> None:
    best = read_best(finished.dir, finished.workspace, finished.decision)
    results = dict(collect_results(best.files))
    results[f"{best.phase}.dataset.sdg_share_pct"] = 12.5
    text = card_text(best, results)
    assert "12.5 % of its training rows are synthetic" in text
    row = {"table": "kpi", "input_path": "p", "golden_path": "g", "object_name": "o"}
    row |= {"label": "PASS", "picture": "", "new_label": ""}
    told = [
        {**row, "verdict": "label_wrong", "new_label": "BRIDGE"},
        {**row, "object_name": "p", "verdict": "bad_picture"},
    ]
    vars(best.files)["corrections"] = told  # in the place of what stands in the run
    said = "people corrected 1 labels and left out 1 rows of the tables"
    assert said in card_text(best, results) and said not in text
    results[f"{best.phase}.dataset.sdg_share_pct"] = 0
    assert "synthetic\n" not in card_text(best, results).partition("## Limits")[2]
