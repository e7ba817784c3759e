"""The threshold to set: typed as it is shown, it decides as the record does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deft.kpi.handed_off import gap_around, shortest_between, threshold_to_set
from deft.kpi.operating_point import candidate_thresholds
from deft.stages.export_best import refuse_other_decisions


@given(st.lists(st.floats(0, 2, width=32), min_size=1, max_size=12))
def test_typed_in_as_shown_it_decides_every_part_alike(values: list[float]) -> None:
    """As float32 (ONNX, torch) and as float64 (a spreadsheet, pandas)."""
    scores = np.array(values, np.float32)
    for threshold in candidate_thresholds(scores):
        typed = float(repr(threshold_to_set(scores, float(threshold))))
        rejected = scores > threshold
        assert ((scores > np.float32(typed)) == rejected).all()
        assert ((scores.astype(np.float64) > typed) == rejected).all()
        refuse_other_decisions(scores, typed, float(threshold), "t.csv")


def test_it_keeps_its_distance_and_is_short() -> None:
    scores = np.random.default_rng(0).random(200).astype(np.float32)
    for threshold in np.sort(scores)[:-1]:
        value = threshold_to_set(scores, float(threshold))
        low, high = gap_around(scores, float(threshold))
        assert low is not None and high is not None
        assert min(value - low, high - value) >= 0.24 * (high - low)
        fewer = float(f"{value:.{max(0, len(repr(value).strip('0.')) - 2)}e}")
        assert fewer == value or not low + (high - low) / 4 <= fewer <= high - (high - low) / 4


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(0.38, 0.391, "0.386"), (0.2, 0.9, "0.6"), (0.0, 0.25, "0.1"), (1e-6, 3e-6, "2e-06")],
)
def test_the_fewest_digits(low: float, high: float, text: str) -> None:
    assert repr(shortest_between(low, high)) == text


def test_the_ends_and_neighbours() -> None:
    scores = np.float32([0.25, 0.5])
    assert threshold_to_set(scores, 0.5) == 0.5  # nothing is above it: it stays
    low = np.float32(0.5)
    high = np.nextafter(low, np.float32(1))
    assert threshold_to_set(np.array([low, high]), float(low)) == low
    lowest = candidate_thresholds(np.float32([0, 0.2]))[0]  # a defect at 0, recall 100 %
    assert threshold_to_set(np.float32([0, 0.2]), float(lowest)) < 0
    assert gap_around(scores, 0.5) == (0.5, None) and gap_around(scores, 0.1) == (None, 0.25)
