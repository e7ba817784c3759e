"""McNemar's exact test, against scipy's, and how often it is wrong where nothing differs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from deft.kpi.flips import BETTER, CANNOT_TELL, WORSE, Compared, Turned, compared, mcnemar_p


@given(st.integers(0, 400), st.integers(0, 400))
def test_p_is_that_of_the_exact_binomial_test(fixed: int, broke: int) -> None:
    if fixed + broke == 0:
        assert mcnemar_p(0, 0) == 1
        return
    wanted = binomtest(fixed, fixed + broke, 0.5).pvalue
    assert mcnemar_p(fixed, broke) == pytest.approx(wanted, rel=1e-9)


def test_published_table() -> None:
    """Fagerland, Lydersen, Laake 2013 (doi 10.1186/1471-2288-13-91): 1 and 7 give p 0.070."""
    assert mcnemar_p(1, 7) == pytest.approx(0.0703, abs=5e-5)


def test_six_of_one_kind_are_the_fewest_that_tell() -> None:
    assert Turned(5, 0, 100).verdict == CANNOT_TELL
    assert Turned(6, 0, 100).verdict == BETTER
    assert Turned(0, 6, 100).verdict == WORSE


@pytest.mark.parametrize(
    ("good", "defects", "wanted"),
    [
        ((9, 0), (0, 0), BETTER),
        ((0, 0), (9, 0), BETTER),
        ((0, 9), (1, 0), WORSE),
        ((9, 0), (0, 9), CANNOT_TELL),  # a trade is a person's to make
        ((3, 1), (0, 0), CANNOT_TELL),
    ],
)
def test_the_verdict_of_both_kinds(good: tuple, defects: tuple, wanted: str) -> None:
    assert Compared(Turned(*good, 100), Turned(*defects, 50)).verdict == wanted


def test_what_turned_is_counted_by_kind() -> None:
    ng = np.array([0, 0, 0, 0, 1, 1, 1], bool)
    before = np.array([1, 1, 0, 0, 1, 0, 0], bool)  # rejected
    now = np.array([0, 1, 1, 0, 0, 1, 1], bool)
    found = compared(before, now, ng)
    assert found.good == Turned(fixed=1, broke=1, parts=4)
    assert found.defects == Turned(fixed=2, broke=1, parts=3)
    told = found.text()
    assert "good parts 1 fixed, 1 broke, p 1" in told and told.startswith(CANNOT_TELL)
    with pytest.raises(ValueError, match="other parts"):
        compared(before[:-1], now, ng)


def test_equal_models_are_called_better_or_worse_in_at_most_one_of_twenty_cases() -> None:
    """2,000 pairs of equally good models, each part decided by chance alike."""
    rng = np.random.default_rng(1)
    ng = np.arange(500) >= 400
    said = {BETTER: 0, WORSE: 0, CANNOT_TELL: 0}
    for _ in range(2000):
        hard = rng.random(500) < 0.2  # what either model decides by a coin
        one, other = (np.where(hard, rng.random(500) < 0.5, ng) for _ in range(2))
        said[compared(one, other, ng).verdict] += 1
    assert said[BETTER] <= 0.05 * 2000
    assert said[WORSE] <= 0.05 * 2000
    assert said[CANNOT_TELL] > 1700
