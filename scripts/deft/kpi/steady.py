"""A figure of FAR that is steadier than FAR at one recall: its geometric mean over many recalls.

FAR at a high recall hangs on a few defects, and two trainings of one table differ by more than
what is compared (docs/noise.md). The mean of its logarithm over the recalls that production asks
for uses every defect of the upper tenth.
"""

from __future__ import annotations

import numpy as np

# 90, 90.25 … 99.75 %; not 100 %, where one defect decides alone.
RECALLS_PCT = tuple(90 + 0.25 * step for step in range(40))
FLOOR_PARTS = 0.5  # false alarms that count for none: the logarithm of 0 is no number
TOLERANCE = 1e-9  # of a count of defects: a product of floats is no whole number


def far_at_recalls_pct(scores: np.ndarray, ng: np.ndarray) -> np.ndarray:
    """Return the lowest FAR in percent that reaches each recall of ``RECALLS_PCT``, float64 (40,).

    Parameters
    ----------
    scores: (n,) compared in float32; high = defective. A part is rejected above the threshold.
    ng: (n,) bool, defects. Both kinds must be there.

    Raises
    ------
    ValueError for a score that is no finite number, or without a defect or a good part.
    """
    scores, ng = np.asarray(scores, np.float32), np.asarray(ng, bool)
    good, defects = np.sort(scores[~ng]), np.sort(scores[ng])
    if not good.size or not defects.size or not np.isfinite(scores).all():
        raise ValueError("finite scores of good parts and of defects are needed")
    recalls = np.asarray(RECALLS_PCT) / 100
    caught = np.ceil(recalls * defects.size - TOLERANCE).astype(int)  # at least so many
    lowest = defects[defects.size - np.maximum(caught, 1)]  # the last of them that must be caught
    # The highest threshold that catches it lies just below its score.
    rejected = good.size - np.searchsorted(good, lowest, side="left")
    return np.asarray(100 * rejected / good.size)


def far_geometric_mean_pct(scores: np.ndarray, ng: np.ndarray) -> float:
    """Return the geometric mean of FAR over recalls of 90 to 99.75 %, in percent; low is better.

    No false alarm counts as half a part. See :func:`far_at_recalls_pct` for what is taken and
    raised.
    """
    far = far_at_recalls_pct(scores, ng)
    floor = 100 * FLOOR_PARTS / int((~np.asarray(ng, bool)).sum())
    # The mean of equal logarithms may come out a last digit above them.
    return min(100.0, float(np.exp(np.log(np.maximum(far, floor)).mean())))
