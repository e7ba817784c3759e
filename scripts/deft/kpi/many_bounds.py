"""Exact bounds of very many counts: most are read off polynomials between exact ones.

Inverting the beta distribution once a count is half of an evaluation of a million scores. Away
from none and from all the bound is a smooth function of the count, which need not be whole, and a
polynomial through a few exact values gives the others to the accuracy of the inversion itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

BLOCK = 1024  # counts on one polynomial
NODES = 14  # exact values each is drawn through: a next one would change nothing any more
# Nearer to none or to all each count is inverted: a block is at most a quarter of its distance.
EDGE = 4 * BLOCK

Bound = Callable[..., np.ndarray]  # counts and totals of one shape -> rates


def bounds_of(bound: Bound, counts: np.ndarray, total: int) -> np.ndarray:
    """Return the bounds of whole counts (n,) of ``total``, float64 (n,).

    ``bound``: :func:`~deft.kpi.operating_point.recall_lower_bound` or the other one. Where the
    count changes as often as a block is long, counts further than ``EDGE`` from none and from all
    are interpolated, within 1e-13 of their value.
    """
    if np.count_nonzero(np.diff(counts)) < BLOCK:  # a sweep's are sorted
        distinct, back = np.unique(counts, return_inverse=True)
        return np.asarray(bound(distinct, np.full(len(distinct), total))[back])
    return np.asarray(_every_bound(bound, total)[counts])


@lru_cache(maxsize=2)  # of defects and of good parts: both weight files of a phase have as many
def _every_bound(bound: Bound, total: int) -> np.ndarray:
    """Return the bounds of 0, 1, … ``total`` of ``total``."""
    blocks = max(0, total - 2 * EDGE) // BLOCK
    inner = np.arange(EDGE, EDGE + blocks * BLOCK)
    outer = np.setdiff1d(np.arange(total + 1), inner, assume_unique=True)
    out = np.empty(total + 1)
    out[outer] = bound(outer, np.full(len(outer), total))
    if blocks:
        nodes, weights = _polynomial()
        at = inner[::BLOCK, np.newaxis] + nodes
        # Not a matrix product: its order of adding, and so the last bits, hang on the processor.
        values = bound(at, np.full(at.shape, total))
        out[inner] = sum(values[:, i, None] * weights[i] for i in range(NODES)).ravel()
    return out


def _polynomial() -> tuple[np.ndarray, np.ndarray]:
    """Return Chebyshev's nodes (NODES,) within a block, and each one's weight (NODES, BLOCK)."""
    angles = (2 * np.arange(NODES) + 1) * np.pi / (2 * NODES)
    nodes = (BLOCK - 1) / 2 * (1 - np.cos(angles))
    # The barycentric formula of Berrut and Trefethen, SIAM Review 46 (2004), for these nodes.
    signed = np.sin(angles) * (-1.0) ** np.arange(NODES)
    shares = signed[:, np.newaxis] / (np.arange(BLOCK) - nodes[:, np.newaxis])
    return nodes, shares / shares.sum(axis=0)
