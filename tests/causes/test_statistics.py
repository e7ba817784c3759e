"""Exact p and its correction, against scipy's test and the definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from deft.causes.find import FALSE_ALARMS, LEAST_WEAK, MISSES, counts, find_causes, sides_of
from deft.causes.statistics import enrichment_p, holm

COUNTS = st.integers(0, 40)


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_p_is_that_of_fishers_exact_test(a: int, b: int, c: int, d: int) -> None:
    total = a + b + c + d
    assume(total)
    wanted = stats.fisher_exact([[a, b], [c, d]], alternative="greater").pvalue
    assert enrichment_p(a, a + b, a + c, total) == pytest.approx(float(wanted), rel=1e-9)


def test_holm_is_the_published_step_down() -> None:
    # Holm (1979): the smallest times m, the next times m - 1, …, never falling, at most 1.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_cause_that_hangs_on_chance_alone_is_seldom_named() -> None:
    """Error over 400 drawn tables with ten causes each: the level is held for all together."""
    rng = np.random.default_rng(0)
    named = 0
    for _ in range(400):
        wrong = rng.permutation(200) < 20
        p = []
        for _ in range(10):
            on = rng.random(200) < rng.uniform(0.02, 0.5)
            found = counts(on, wrong, np.ones(200, bool))
            p += [found["p"]] if found else []
        named += min(holm(p)) < 0.05
    assert stats.binomtest(named, 400, 0.05, alternative="greater").pvalue > 0.01


def test_without_a_missed_defect_the_weakest_are_looked_at() -> None:
    scores = np.array([*range(100, 200), *range(40)], float)
    ng = np.arange(140) < 100
    misses, alarms = sides_of(scores, ng, threshold=99.5)
    assert misses.name == MISSES and np.flatnonzero(misses.wrong).tolist() == list(range(10))
    assert np.flatnonzero(alarms.wrong).tolist() == list(range(135, 140)), "and the highest good"


def test_of_many_false_alarms_the_highest_scored_quarter_is_looked_at() -> None:
    scores = np.arange(100, dtype=float)
    ng = np.arange(100) >= 80
    _, alarms = sides_of(scores, ng, threshold=-1.0)
    assert alarms.name == FALSE_ALARMS
    assert np.flatnonzero(alarms.wrong).tolist() == list(range(60, 80))


def test_misses_that_are_many_count_as_they_are() -> None:
    scores = np.arange(40, dtype=float)
    misses, _ = sides_of(scores, np.ones(40, bool), threshold=19.0)
    assert misses.wrong.sum() == 20  # a score equal to the threshold is not rejected


def test_a_side_of_few_parts_keeps_a_rest_to_compare_with() -> None:
    misses, alarms = sides_of(np.arange(6.0), np.arange(6) < 3, threshold=-1.0)
    assert misses.wrong.sum() == 1 and alarms.wrong.sum() <= LEAST_WEAK


def test_counts_of_a_cause_are_its_two_by_two_table() -> None:
    on = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], bool)
    wrong = np.array([1, 1, 1, 0, 1, 0, 0, 0, 0, 0], bool)
    found = counts(on, wrong, np.ones(10, bool))
    assert found is not None
    assert (found["flagged"], found["flagged_wrong"], found["wrong"]) == (4, 3, 4)
    assert found["share_pct"] == 75 and found["rate_pct"] == 75
    assert found["lift"] == pytest.approx(4.5) and found["p"] == pytest.approx(25 / 210)
    assert counts(on, np.zeros(10, bool), np.ones(10, bool)) is None, "nothing is wrong"
    assert counts(on, wrong, on) is None, "all are flagged: there is no rest"


def test_a_cause_that_only_wrong_parts_have_says_so() -> None:
    on = np.arange(20) < 4
    found = counts(on, on, np.ones(20, bool))
    assert found is not None and found["lift"] is None and found["rest_rate_pct"] == 0


def test_a_group_is_named_where_nothing_measured_explains_it() -> None:
    """One bad board; and another whose parts are all shifted, which says more than its name."""
    import pandas as pd

    from deft.causes.catalogue import BY_ID

    rng = np.random.default_rng(3)
    board = np.array([f"b{i % 10}" for i in range(400)])
    ng = np.zeros(400, bool)
    ng[::8] = True
    scores = rng.normal(np.where(ng, 3.0, -3.0), 0.5)
    bad = ~ng & np.isin(board, ["b1", "b2"])
    scores[bad] += 7
    flags = pd.DataFrame(False, index=range(400), columns=list(BY_ID))
    flags["registration"] = board == "b2"
    found = find_causes(scores, ng, 0.0, flags, pd.DataFrame({"boardname": board}))
    assert found["named"] == ["registration", "boardname:b1"]
    causes = {cause["id"]: cause for cause in found["causes"]}
    # Of the other nine boards, as the shifted parts are no part of the question.
    assert causes["boardname:b1"]["false_alarms"]["parts"] == int((~ng & (board != "b2")).sum())
    assert all(
        cause["p_corrected"] >= cause["false_alarms"]["p"]
        for cause in causes.values()
        if cause["false_alarms"]
    )
