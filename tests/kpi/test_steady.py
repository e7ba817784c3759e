"""The geometric mean of FAR over recalls, against a sweep threshold by threshold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import gmean

from deft.kpi.steady import RECALLS_PCT, far_at_recalls_pct, far_geometric_mean_pct


def by_hand(scores: np.ndarray, ng: np.ndarray) -> list[float]:
    """The lowest FAR of all thresholds that reach each recall, by trying every one."""
    cuts = [-np.inf, *np.unique(scores)]
    rates = [((scores[ng] > cut).mean(), (scores[~ng] > cut).mean()) for cut in cuts]
    return [100 * min(far for recall, far in rates if recall >= r / 100) for r in RECALLS_PCT]


def test_the_recalls_are_those_of_the_issue() -> None:
    assert (RECALLS_PCT[0], RECALLS_PCT[-1], len(RECALLS_PCT)) == (90, 99.75, 40)


@given(st.data())
def test_it_is_the_geometric_mean_of_what_a_sweep_gives(data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 60))
    # Few levels, so that good parts and defects share scores.
    scores = np.array(data.draw(st.lists(st.integers(0, 12), min_size=count, max_size=count)))
    scores = (scores / 4).astype(np.float32)
    ng = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    ng[:2] = True, False
    wanted = by_hand(scores, ng)
    assert far_at_recalls_pct(scores, ng).tolist() == pytest.approx(wanted)
    floor = 100 * 0.5 / (~ng).sum()
    mean = gmean(np.maximum(wanted, floor))
    assert far_geometric_mean_pct(scores, ng) == pytest.approx(mean, rel=1e-12)


def test_no_false_alarm_is_half_a_part() -> None:
    scores = np.array([0.1] * 200 + [0.9] * 50)
    assert far_geometric_mean_pct(scores, np.arange(250) >= 200) == pytest.approx(0.25)


def test_it_is_steadier_than_far_at_one_recall() -> None:
    """Of two draws of one model, the logarithm of the mean varies less than that at 99 %."""
    rng = np.random.default_rng(0)
    ng = np.arange(1100) >= 1000
    one, many = [], []
    for _ in range(200):
        scores = rng.normal(ng * 2.5, 1)
        at_99 = far_at_recalls_pct(scores, ng)[RECALLS_PCT.index(99)]
        one.append(np.log(at_99))
        many.append(np.log(far_geometric_mean_pct(scores, ng)))
    assert np.std(many) < np.std(one)


@pytest.mark.parametrize("scores", [[0.1, np.nan, 0.9], [0.1, np.inf, 0.9]])
def test_scores_must_be_numbers(scores: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        far_geometric_mean_pct(np.array(scores), np.array([False, False, True]))


@pytest.mark.parametrize("ng", [[True, True], [False, False]])
def test_both_kinds_are_needed(ng: list[bool]) -> None:
    with pytest.raises(ValueError, match="good parts and of defects"):
        far_geometric_mean_pct(np.array([0.1, 0.2]), np.array(ng))


@pytest.mark.parametrize("good", [1, 3, 6, 7, 1000])
def test_a_network_that_rejects_every_good_part_has_exactly_100_pct(good):
    scores = np.r_[np.full(good, 0.9, np.float32), np.full(3, 0.1, np.float32)]
    assert far_geometric_mean_pct(scores, np.arange(good + 3) >= good) == 100
