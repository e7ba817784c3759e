"""All scores of a phase inside the page: distinct values and how many parts have each.

Up to ``EXACT_STEPS`` distinct scores all are there. Of more, those around the threshold stay and
the rest is put together in groups; a group stands at its highest score, where its count is exact.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

EXACT_STEPS = 150_000  # of both kinds together: 4 bytes each, base64
GROUPS = 2_000  # on either side of the exact window, of each kind


def pack(scores: np.ndarray, ng: np.ndarray, threshold: float) -> dict[str, Any]:
    """Return scores (n,) in float32 as JSON-ready text, good parts and defects apart.

    ``exact``: the lowest and the highest score between which every step is there; None: all are.
    """
    scores = np.asarray(scores, np.float32)
    window = _window(scores, threshold)
    return {
        "good": _side(scores[~ng], window),
        "ng": _side(scores[ng], window),
        "exact": None if window is None else [float(v) for v in window],
    }


def _window(scores: np.ndarray, threshold: float) -> tuple[float, float] | None:
    values = np.unique(scores)
    if len(values) <= EXACT_STEPS:
        return None
    here = int(np.searchsorted(values, np.float32(threshold)))
    first = min(max(0, here - EXACT_STEPS // 2), len(values) - EXACT_STEPS)
    return float(values[first]), float(values[first + EXACT_STEPS - 1])


def _side(scores: np.ndarray, window: tuple[float, float] | None) -> dict[str, str | None]:
    values, counts = np.unique(scores, return_counts=True)
    if window is not None:
        below, above = values < np.float32(window[0]), values > np.float32(window[1])
        parts = [_grouped(values[below], counts[below])]
        parts += [(values[~below & ~above], counts[~below & ~above])]
        parts += [_grouped(values[above], counts[above])]
        values, counts = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    once = bool((counts == 1).all())
    return {
        "values": _text(values.astype("<f4")),
        "counts": None if once else _text(counts.astype("<u4")),
    }


def _grouped(values: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return at most ``GROUPS`` values, each the highest of its group, with the group's count."""
    if len(values) <= GROUPS:
        return values, counts
    last = np.linspace(0, len(values), GROUPS + 1).astype(int)[1:] - 1
    return values[last], np.diff(np.cumsum(counts)[last], prepend=0)


def _text(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode("ascii")
