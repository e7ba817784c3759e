"""Keeping chosen parts apart: a minimum distance, and copies in the pool."""

from __future__ import annotations

import numpy as np

from deft.mining.cosine import SIMILARITY_DECIMALS
from deft.mining.strategies.problem import Vectors
from deft.tables.near_duplicates import nearest_within

BLOCK = 4096  # parts whose vectors are fetched at a time


def keep_apart(vectors: Vectors, order: np.ndarray, min_distance: float, wanted: int) -> np.ndarray:
    """Return the places in ``order`` of parts at least ``min_distance`` from all kept before.

    Parameters
    ----------
    vectors: positions -> (m, d) unit rows. order: (n,) positions, the preferred first.
    min_distance: 1 - cosine, above 0, at most 2. wanted: stop after so many.

    Returns
    -------
    (m,) int64, ascending. Distances are rounded to 6 decimals, so the last bits decide nothing.
    """
    places: list[int] = []
    kept: np.ndarray | None = None
    for start in range(0, len(order), BLOCK):
        rows = vectors(order[start : start + BLOCK]).astype(np.float64)
        if kept is None:
            kept = np.empty((min(wanted, len(order)), rows.shape[1]))
        for i, row in enumerate(rows):
            if len(places) >= wanted:
                return np.array(places, np.int64)
            # A sum over rows of its own, not a matrix product, whose bits depend on its size.
            cosine = (kept[: len(places)] * row).sum(axis=1)
            distance = np.round(1.0 - cosine, SIMILARITY_DECIMALS)
            if (distance >= min_distance).all():
                kept[len(places)] = row
                places.append(start + i)
    return np.array(places, np.int64)


def first_of_copies(hashes: np.ndarray, bits: int) -> np.ndarray:
    """Return which rows (n,) bool stay when near-copies of an earlier row that stays go.

    ``hashes``: (n,) uint64 difference hashes, the preferred first; ``bits``: how many of the 64
    may differ in a copy, 0 to 3.
    """
    hashes = np.asarray(hashes, np.uint64)
    keep = np.ones(len(hashes), bool)
    undecided = np.arange(len(hashes))
    # Each round keeps the rows without any earlier undecided copy, and drops the copies of those.
    while len(undecided):
        stays = ~has_earlier_copy(hashes[undecided], bits)
        kept, rest = undecided[stays], undecided[~stays]
        copies = nearest_within(hashes[rest], hashes[kept], bits) >= 0
        keep[rest[copies]] = False
        undecided = rest[~copies]
    return keep


def has_earlier_copy(hashes: np.ndarray, bits: int) -> np.ndarray:
    """Return for each hash (n,) uint64 whether any earlier one is within ``bits`` of it."""
    found = np.zeros(len(hashes), bool)
    spans = [(0, len(hashes))]
    while spans:  # every pair is compared in the one span that parts it
        low, high = spans.pop()
        if high - low < 2:
            continue
        middle = (low + high) // 2
        open_ = np.flatnonzero(~found[middle:high]) + middle
        found[open_] = nearest_within(hashes[open_], hashes[low:middle], bits) >= 0
        spans += [(low, middle), (middle, high)]
    return found
