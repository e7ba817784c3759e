"""The noise floor: by how much two trainings of one table differ that have other seeds alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

CONFIDENCE = 0.95  # of two further trainings: their ratio lies within the factor


def noise_floor(means_pct: Sequence[float]) -> dict[str, Any]:
    """Return the spread of geometric means of FAR (percent, above 0), one a training.

    Keys: trainings, mean_pct (geometric), lowest_pct, highest_pct, sd_log (of natural logarithms)
    and factor: the ratio of two further trainings lies between its inverse and itself with 95 %
    confidence, normal logarithms assumed (Student's t, so few trainings give a wide one).

    Raises ValueError for fewer than two.
    """
    logs = np.log(np.asarray(means_pct, np.float64))
    if logs.size < 2 or not np.isfinite(logs).all():
        raise ValueError("two or more means above 0 are needed")
    from scipy.special import stdtrit  # not scipy.stats, whose import costs a second

    spread = float(logs.std(ddof=1))
    quantile = float(stdtrit(logs.size - 1, (1 + CONFIDENCE) / 2))
    return {
        "trainings": int(logs.size),
        "mean_pct": float(np.exp(logs.mean())),
        "lowest_pct": float(np.exp(logs.min())),
        "highest_pct": float(np.exp(logs.max())),
        "sd_log": spread,
        "factor": float(np.exp(quantile * np.sqrt(2) * spread)),
    }
