"""Exact statistics of counts: does a property go with being wrong, or is that chance?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def enrichment_p(both: int, flagged: int, wrong: int, total: int) -> float:
    """Return the exact one-sided p of Fisher's test: so many wrong ones or more among the flagged.

    ``both`` of ``flagged`` parts are wrong; ``wrong`` of ``total`` are.
    """
    from scipy import stats  # most of a second, which only who computes one should pay

    return float(stats.hypergeom.sf(both - 1, total, flagged, wrong))


def holm(p: Sequence[float]) -> list[float]:
    """Return p corrected for their number (Holm, 1979), each at most 1, in the order given."""
    order = np.argsort(p, kind="stable")
    corrected = [0.0] * len(p)
    highest = 0.0
    for place, at in enumerate(order.tolist()):
        highest = max(highest, min(1.0, (len(p) - place) * p[at]))
        corrected[at] = highest
    return corrected
