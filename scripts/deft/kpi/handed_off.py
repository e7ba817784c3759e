"""The threshold to set: between two scores, in as few digits as decide alike.

A KPI threshold is itself the score of a picture (the sweep tries every score), so another runtime,
or a threshold typed in with one digit less, turns that picture. Every threshold from the highest
score that passes up to below the lowest that is rejected decides alike; what is handed off lies
well inside of these, and is short enough to be typed.
"""

from __future__ import annotations

import numpy as np

INNER = 0.25  # of the gap: the least distance to either score
DIGITS = 9  # tell every float32 from the next


def gap_around(scores: np.ndarray, threshold: float) -> tuple[float | None, float | None]:
    """Return the highest score that passes and the lowest that is rejected; None without one.

    ``scores``: (n,), compared in float32.
    """
    scores, cut = np.asarray(scores, np.float32), np.float32(threshold)
    passing, rejected = scores[scores <= cut], scores[scores > cut]
    return (
        float(passing.max()) if passing.size else None,
        float(rejected.min()) if rejected.size else None,
    )


def threshold_to_set(scores: np.ndarray, threshold: float) -> float:
    """Return the threshold to hand off, which decides every score as ``threshold`` does.

    Its shortest decimal form (``repr``) is what is shown, typed and compared: read as float64 or
    as float32 it decides alike. Where nothing is rejected, ``threshold`` itself is kept.
    """
    low, high = gap_around(scores, threshold)
    cut = float(np.float32(threshold))
    if high is None or (low is None and high <= 0):  # only below 0 is a score of 0 rejected
        return cut
    return shortest_between(0.0 if low is None else low, high)  # no score is negative


def shortest_between(low: float, high: float) -> float:
    """Return the number with the fewest digits near the middle of ``low <= t < high``.

    It keeps a quarter of the gap to both ends where a number of nine digits does; between
    neighbouring float32 values it is ``low``.
    """
    middle, margin = (low + high) / 2, INNER * (high - low)
    for digits in range(DIGITS):
        found = float(f"{middle:.{digits}e}")
        if low + margin <= found <= high - margin and low <= np.float32(found) < high:
            return found
    return low
