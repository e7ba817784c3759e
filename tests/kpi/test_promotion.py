"""The promotion gate: its outcomes, its bounds against scipy, and how often it errs."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.stats import binomtest

from deft.kpi.certify import parts_needed
from deft.kpi.flips import CANNOT_TELL, Compared, Turned
from deft.kpi.promotion import KEEP, PROMOTE, Counts, judge, judge_alone, judge_turned
from deft.settings.kpi_target import parse_kpi

MARGIN_PCT = 5.0


def gate(good: tuple[int, int, int], defects: tuple[int, int, int]) -> str:
    return judge_turned(Compared(Turned(*good), Turned(*defects)), MARGIN_PCT).outcome


@pytest.mark.parametrize(
    ("good", "defects", "wanted"),
    [
        ((9, 0, 400), (0, 0, 60), PROMOTE),
        ((9, 0, 400), (0, 0, 57), CANNOT_TELL),  # 0 of 57 is up to 5.1 %
        ((5, 0, 400), (0, 0, 60), CANNOT_TELL),  # five of one kind tell nothing
        ((9, 0, 400), (0, 2, 60), CANNOT_TELL),
        ((0, 9, 400), (0, 0, 60), KEEP),
        ((40, 0, 400), (0, 6, 400), KEEP),  # fewer false alarms do not pay for defects
        ((0, 0, 400), (8, 0, 60), PROMOTE),  # more defects, no further false alarm
        ((0, 5, 60), (8, 0, 60), CANNOT_TELL),  # more defects, perhaps many false alarms
        ((0, 0, 400), (0, 0, 60), CANNOT_TELL),
    ],
)
def test_outcomes(good: tuple, defects: tuple, wanted: str) -> None:
    assert gate(good, defects) == wanted


def test_its_bounds_are_those_of_scipy() -> None:
    found = judge_turned(Compared(Turned(30, 7, 420), Turned(1, 3, 130)), MARGIN_PCT).numbers
    ci = {"alternative": "less"}
    misses = binomtest(3, 130, **ci).proportion_ci(0.95, "exact").high
    alarms = binomtest(7, 420, **ci).proportion_ci(0.975, "exact").high
    assert found["newly_missed_upper95_pct"] == pytest.approx(100 * misses)
    assert found["new_false_alarms_upper975_pct"] == pytest.approx(100 * alarms)


@pytest.mark.parametrize(("count", "total"), [(0, 10), (2, 60), (5, 70)])
def test_the_defects_still_needed_are_the_least(count: int, total: int) -> None:
    more = parts_needed(count, total, 0.05)
    assert more is not None

    def bound(n: int) -> float:
        found = binomtest(count, total + n, alternative="less")
        return float(found.proportion_ci(0.95, "exact").high)

    assert bound(more) <= 0.05 < bound(more - 1)
    assert parts_needed(0, 10, 0.0) is None


def drawn(rng: np.random.Generator, good: tuple[float, float], defects: tuple[float, float]) -> str:
    """One promotion of 500 good parts and 150 defects; shares that the new model fixes, breaks."""
    ng = np.arange(650) >= 500
    champion, challenger = ng.copy(), ng.copy()  # both right
    turn = rng.random(650)
    for at, (fixed, broke) in ((~ng, good), (ng, defects)):
        champion[at & (turn < fixed)] ^= True
        challenger[at & (turn >= fixed) & (turn < fixed + broke)] ^= True
    return judge(champion, challenger, ng, MARGIN_PCT).outcome


@pytest.mark.parametrize(
    ("good", "defects"),
    [
        ((0.0, 0.0), (0.0, 0.0)),
        ((0.05, 0.05), (0.0, 0.0)),  # no better, many turn
        ((0.05, 0.05), (0.02, 0.02)),
        ((0.01, 0.01), (0.08, 0.08)),
        ((0.20, 0.0), (0.0, 0.0501)),  # far fewer false alarms, inferior in misses
        ((0.20, 0.0), (0.10, 0.1501)),
        ((0.0, 0.0501), (0.15, 0.0)),  # far more defects, inferior in false alarms
    ],
)
def test_a_model_that_is_no_better_is_promoted_in_at_most_one_of_twenty(
    good: tuple, defects: tuple
) -> None:
    rng = np.random.default_rng(5)
    said = Counter(drawn(rng, good, defects) for _ in range(2000))
    assert said[PROMOTE] <= 0.05 * 2000, said


def test_a_better_one_is_promoted_and_a_worse_one_is_not() -> None:
    rng = np.random.default_rng(6)
    better = Counter(drawn(rng, (0.04, 0.005), (0.0, 0.005)) for _ in range(300))
    assert better[PROMOTE] > 0.8 * 300, better
    worse = Counter(drawn(rng, (0.005, 0.04), (0.0, 0.005)) for _ in range(300))
    assert worse[KEEP] > 0.8 * 300 and not worse[PROMOTE], worse


@pytest.mark.parametrize(
    ("counts", "wanted"),
    [
        (Counts(100, 0, 0, 400), PROMOTE),
        (Counts(20, 0, 0, 400), CANNOT_TELL),  # 20 of 20 prove 86 %
        (Counts(100, 0, 0, 100), CANNOT_TELL),
        (Counts(60, 40, 0, 400), KEEP),
        (Counts(100, 0, 40, 360), KEEP),
    ],
)
def test_without_a_champion_the_bounds_of_the_target_decide(counts: Counts, wanted: str) -> None:
    assert judge_alone(counts, parse_kpi("FAR < 1% at recall=95%")).outcome == wanted


def test_two_by_two_counts_and_their_bounds() -> None:
    ng = np.array([1, 1, 1, 0, 0, 0, 0], bool)
    rejected = np.array([1, 1, 0, 1, 0, 0, 0], bool)
    found = Counts.of(rejected, ng)
    assert found == Counts(tp=2, fn=1, fp=1, tn=3)
    told = found.as_dict()
    exact = binomtest(1, 4, alternative="less").proportion_ci(0.95, "exact").high
    assert told["far_pct"] == 25 and told["far_upper95_pct"] == pytest.approx(100 * exact)
    least = binomtest(2, 3, alternative="greater").proportion_ci(0.95, "exact").low
    assert told["recall_lower95_pct"] == pytest.approx(100 * least)
