"""What counts can prove of a target, and how many more parts would prove it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from deft.kpi.operating_point import RECALL_TOLERANCE, far_upper_bound, recall_lower_bound
from deft.settings.kpi_target import KpiTarget

CERTIFY_RECALL = 0.95  # of one defect type
MOST_PARTS = 10**9  # nobody collects more; beyond it a target counts as out of reach


def proves_far(rejected: int, good: int, target: KpiTarget) -> bool:
    """Return whether the upper bound of FAR meets the target."""
    return target.met(100 * float(far_upper_bound(rejected, good)))


def proves_recall(caught: int, defects: int, min_recall: float) -> bool:
    """Return whether the lower bound of the recall reaches ``min_recall`` (0 to 1)."""
    return float(recall_lower_bound(caught, defects)) >= min_recall


def good_parts_needed(rejected: int, good: int, target: KpiTarget) -> int | None:
    """Return how many more good parts, all passed, prove the FAR; None: no number does."""
    return _least(lambda more: proves_far(rejected, good + more, target))


def defects_needed(caught: int, defects: int, min_recall: float) -> int | None:
    """Return how many more defects, all caught, prove the recall; None: no number does."""
    return _least(lambda more: proves_recall(caught + more, defects + more, min_recall))


def _least(enough: Callable[[int], bool]) -> int | None:
    """Return the least number for which ``enough`` holds, as it does for every greater one."""
    low, high = -1, 1
    if enough(0):
        return 0
    while not enough(high):
        low, high = high, 2 * high
        if high > MOST_PARTS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def false_alarms_allowed(good: int, target: KpiTarget) -> int:
    """Return how many of ``good`` parts may be rejected at most; -1: not even none."""
    allowed = min(good, int(good * target.far_max_pct / 100) + 1)
    while allowed >= 0 and not target.met(100 * (allowed / good)):
        allowed -= 1
    return allowed


def misses_allowed(defects: int, min_recall: float) -> int:
    """Return how many of ``defects`` may be missed at most."""
    missed = int(defects * (1 - min_recall)) + 1
    while missed > 0 and (defects - missed) / defects < min_recall - RECALL_TOLERANCE:
        missed -= 1
    return missed


def hangs_on(
    scores: np.ndarray, ng: np.ndarray, threshold: float, target: KpiTarget
) -> tuple[np.ndarray, bool]:
    """Return the fewest parts on which the judgement of a target hangs, nearest first.

    Parameters
    ----------
    scores: (n,) compared in float32. ng: (n,) bool. threshold: of the operating point.

    Returns
    -------
    Positions (k,), and whether they are good parts. Met: the passing good parts with the highest
    scores, so many that one more false alarm each would break it. Not met: the defects with the
    lowest scores, without which (or scored higher) it would be met. Empty: no number of parts.
    """
    scores = np.asarray(scores, np.float32)
    good = np.flatnonzero(~ng)
    good = good[np.argsort(-scores[good], kind="stable")]
    defects = np.flatnonzero(ng)
    defects = defects[np.argsort(scores[defects], kind="stable")]
    rejected = int((scores[good] > np.float32(threshold)).sum())
    allowed = false_alarms_allowed(len(good), target)
    if rejected <= allowed:
        more = allowed - rejected + 1
        return good[rejected : rejected + more if rejected + more <= len(good) else rejected], True
    if allowed < 0:
        return defects[:0], False
    lowest = scores[good[allowed]]
    below = int((scores[defects] <= lowest).sum())
    return defects[: max(0, below - misses_allowed(len(defects), target.min_recall))], False


def parts_needed(count: int, total: int, most: float) -> int | None:
    """Return how many more parts, none counted, bring a rate's upper bound to ``most`` (0 to 1).

    None: no number does.
    """
    return _least(lambda more: float(far_upper_bound(count, total + more)) <= most)
