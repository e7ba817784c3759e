"""The model's card: every figure is the record's, and what limits it is named."""

from __future__ import annotations

import re
from dataclasses import replace

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


def test_what_the_acceptance_set_said_of_this_hand_off_stands_there(
    finished: fake_run.FakeRun,
) -> None:
    best = read_best(finished.dir, finished.workspace, finished.decision)
    assert "acceptance" not in card_text(best, collect_results(best.files))
    rates = {"far_pct": 1.5, "far_lower95_pct": 0.25, "far_upper95_pct": 4.5}
    rates |= {"recall_pct": 98, "recall_lower95_pct": 93.5, "recall_upper95_pct": 99.75}
    told = {
        "asked": {"handed_off": {"weights_sha256": best.export["weights_sha256"]}},
        "set": {"rows": 300, "good": 200, "defects": 100},
        "opening": 2,
        "challenger": rates,
        "gate": {"outcome": "cannot tell"},
    }
    files = replace(best.files, acceptance=told, memo={})
    best = replace(best, files=files)
    text = card_text(best, collect_results(files))
    assert "200 good parts and 100 defects that no phase has seen, opening 2" in text
    assert "cannot tell" in text and "FAR 1.50 % (0.25 % to 4.50 %), recall 98.00 %" in text
    assert "Confirm on parts" not in text
    told["asked"]["handed_off"]["weights_sha256"] = "0" * 64  # of another hand-off
    assert "acceptance" not in card_text(best, collect_results(files))


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
