"""What counts prove, compared with scipy's own distributions and with brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom

from deft.kpi import certify
from deft.settings.kpi_target import KpiTarget, parse_kpi


@pytest.mark.parametrize(("fp", "good"), [(0, 200), (2, 200), (0, 298), (0, 299), (7, 5000)])
def test_good_parts_needed_is_the_least_number(fp: int, good: int) -> None:
    target = parse_kpi("FAR < 1% at recall=100%")
    more = certify.good_parts_needed(fp, good, target)
    assert more is not None

    def bound(n: int) -> float:
        return float(beta.ppf(0.95, fp + 1, n - fp))

    assert bound(good + more) < 0.01
    assert more == 0 or bound(good + more - 1) >= 0.01


@pytest.mark.parametrize(("fn", "ng", "recall"), [(0, 96, 0.99), (1, 96, 0.95), (0, 299, 0.99)])
def test_defects_needed_is_the_least_number(fn: int, ng: int, recall: float) -> None:
    more = certify.defects_needed(ng - fn, ng, recall)
    assert more is not None
    # At the wanted recall so few misses happen by chance in at most one of twenty sets.
    assert binom.cdf(fn, ng + more, 1 - recall) <= 0.05
    assert more == 0 or binom.cdf(fn, ng + more - 1, 1 - recall) > 0.05


def test_what_no_number_proves() -> None:
    assert certify.defects_needed(96, 96, 1.0) is None
    assert certify.good_parts_needed(0, 200, KpiTarget(0.0, 1.0, False, "")) is None


@given(st.integers(1, 3000), st.floats(0, 100), st.booleans())
def test_allowed_false_alarms_are_the_most_that_meet(good: int, far: float, strict: bool) -> None:
    target = KpiTarget(far, 1.0, strict, "")
    meeting = [k for k in range(good + 1) if target.met(100 * (k / good))]
    assert certify.false_alarms_allowed(good, target) == max(meeting, default=-1)


@given(st.integers(1, 500), st.floats(0, 1))
def test_allowed_misses_are_the_most_that_reach(ng: int, recall: float) -> None:
    missed = certify.misses_allowed(ng, recall)
    assert (ng - missed) / ng >= recall - 1e-9
    assert missed == ng or (ng - missed - 1) / ng < recall


def test_hangs_on_the_good_parts_nearest_to_the_threshold() -> None:
    scores = np.float32([0.1, 0.4, 0.3, 0.2, 0.9])
    ng = np.array([False, False, False, False, True])
    rows, good = certify.hangs_on(scores, ng, 0.4, KpiTarget(50.0, 1.0, True, ""))
    assert good and rows.tolist() == [1, 2]  # 2 of 4 rejected is 50 %, which is not below 50 %


def test_hangs_on_the_defects_that_lie_among_good_parts() -> None:
    scores = np.float32([0.1, 0.4, 0.3, 0.2, 0.9, 0.25, 0.05])
    ng = np.array([False, False, False, False, True, True, True])
    target = KpiTarget(30.0, 1.0, True, "")  # 1 of 4 may be rejected
    rows, good = certify.hangs_on(scores, ng, 0.0, target)
    assert not good and rows.tolist() == [6, 5]
    kept = np.delete(np.arange(7), rows)
    least = scores[kept][ng[kept]].min()
    assert (scores[kept][~ng[kept]] >= least).sum() <= 1
    rows, _ = certify.hangs_on(scores, ng, 0.0, KpiTarget(30.0, 0.66, True, ""))
    assert rows.tolist() == [6]  # one of three may be missed
