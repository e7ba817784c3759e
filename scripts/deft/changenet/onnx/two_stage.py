"""Two stages: one view scores every part, all views only those that it leaves near the threshold.

The margin comes from the KPI set, which is scored both ways: beyond it no KPI part is decided
otherwise by one view than by all of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from deft.score_kit.network import distance_to

FIRST = "model.one.onnx"
SAFETY = 2.0  # times the farthest part that one view decides otherwise


def margin_of(
    one: np.ndarray, views: np.ndarray, threshold: float, *, logits: bool
) -> dict[str, Any]:
    """Return ``margin`` (see :class:`deft.score_kit.prepare.FirstStage`) and what it means.

    Parameters
    ----------
    one, views: (n,) float32 scores of the KPI parts from one view and over all.
    threshold: that of ``views``.

    ``decided_otherwise``: parts that one view alone would decide otherwise; ``share_again``: of all
    parts, those within the margin. It is twice the distance of the farthest such part; without
    one, the distance that half of the parts are moved by.
    """
    cut = np.float32(threshold)
    other = (one > cut) != (views > cut)
    distance = distance_to(one, threshold, logits)
    if other.any():
        margin = SAFETY * float(distance[other].max())
    else:
        margin = float(np.median(distance_to(one, views, logits)))
    return {
        "margin": margin,
        "decided_otherwise": int(other.sum()),
        "share_again": round(float((distance <= margin).mean()), 6),
    }
