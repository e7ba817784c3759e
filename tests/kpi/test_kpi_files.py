"""The files beside an inference table: counts, missed samples, the line other tools look for."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deft.core.errors import HardStop
from deft.kpi import operating_point
from deft.kpi.beside import missed_samples, threshold_table
from deft.kpi.evaluation import evaluate_table
from deft.tables.changenet_table import write_table

PICTURES = (
    "confusion_matrix_best_f1.png",
    "confusion_matrix_recall_100.png",
    "confusion_recall_point.png",
    "score_distribution_with_recall_100_threshold.png",
)


def table(scores: dict[str, list[float]]) -> pd.DataFrame:
    rows = [(label, score) for label, found in scores.items() for score in found]
    frame = pd.DataFrame(rows, columns=["label", "siamese_score"])
    name = [f"C{i}@1" for i in range(len(frame))]
    return frame.assign(input_path="t", golden_path="g", object_name=name)


def test_counts_of_every_threshold() -> None:
    scores, ng = np.array([0.1, 0.2, 0.3, 0.4]), np.array([False, True, False, True])
    found = threshold_table(operating_point.sweep(scores, ng))
    assert found["predicted_no_pass_count"].tolist() == [4, 3, 2, 1, 0]
    assert set(found["actual_no_pass_count"]) == {2} and set(found["actual_pass_count"]) == {2}


def test_missed_samples_lowest_score_first_then_by_line() -> None:
    """The row's number is the line of the file; equal scores keep the file's order."""
    rows = table({"PASS": [0.1, 0.3], "bridge": [0.3, 0.9, 0.2], "shift": [0.3]})
    found = missed_samples(rows, 0.3)
    assert found["analysis_row_index"].tolist() == [6, 4, 7]  # the header is line 1
    assert found["object_name"].tolist() == ["C4@1", "C2@1", "C5@1"]
    assert found["analysis_score"].tolist() == [0.2, 0.3, 0.3]
    told = found[[c for c in found if c.startswith("analysis_")]].iloc[0].tolist()[2:]
    assert told == [0.3, "NO_PASS", "PASS", "MISSED_NO_PASS"]
    assert list(missed_samples(rows, 0.0).columns) == list(found.columns)


@pytest.mark.parametrize("min_recall", [1.0, 0.5])
def test_the_files_of_an_inference_table(tmp_path: Path, min_recall: float) -> None:
    """Whatever recall the KPI asks for, the line is that of the threshold without a miss."""
    rows = table({"PASS": [0.1, 0.55, 0.58, 0.6], "bridge": [0.5, 0.9]})
    found = evaluate_table(write_table(rows, tmp_path / "inference.csv"), min_recall)
    assert {p.name for p in tmp_path.glob("*.png")} == set(PICTURES)
    text = (tmp_path / "summary.txt").read_text()
    line = re.search(r"^100% recall threshold: (\S+) (.*)$", text, re.M)
    assert float(line[1]) == pytest.approx(0.1)
    assert line[2] == "(FAR=75.0000%, precision=0.400000, recall=1.000000, f1=0.571429)"
    assert found["recall_point"]["threshold"] == pytest.approx(0.1 if min_recall == 1.0 else 0.6)
    sizes = {name: (tmp_path / name).read_bytes() for name in PICTURES[1:3]}
    assert len(set(sizes.values())) == 2  # they say which point they show


def test_no_file_is_left_of_scores_that_are_none(tmp_path: Path) -> None:
    path = write_table(table({"PASS": [0.1], "bridge": [float("nan")]}), tmp_path / "inference.csv")
    with pytest.raises(HardStop, match="score_invalid"):
        evaluate_table(path, 1.0)
    assert [p.name for p in tmp_path.iterdir()] == ["inference.csv"]
