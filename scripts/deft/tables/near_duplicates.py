"""Nearest 64-bit hashes within a few differing bits, without comparing all with all."""

from __future__ import annotations

from itertools import combinations

import numpy as np

HASH_BITS = 64
MAX_BITS = 3  # the greatest distance that the index below finds completely
BLOCKS = 5  # 3 differing bits touch at most 3 of 5 blocks, so 2 blocks agree
SHARED = 2
PAIRS_AT_ONCE = 2**21  # bounds the memory of the comparison: some 100 MB
CROWD = 64  # hashes of b under one key from which on they are compared as a table
PLACE_BITS = 48  # of the position in a number that orders by distance, then position
NONE = np.iinfo(np.int64).max


def nearest_within(a: np.ndarray, b: np.ndarray, bits: int = MAX_BITS) -> np.ndarray:
    """Return for each hash of ``a`` the nearest of ``b`` within ``bits`` differing bits, or -1.

    Multi-index hashing (Manku et al., Detecting Near-Duplicates for Web Crawling, WWW 2007): a
    pair within 3 bits agrees exactly in two of five blocks, so only hashes with equal block pairs
    (25 or 26 bits) are compared. Complete: every pair within ``bits`` is found.

    Parameters
    ----------
    a, b: (n,) and (m,) uint64. bits: 0 to ``MAX_BITS``.

    Returns
    -------
    (n,) int64 positions in ``b``; of equally near ones the first.
    """
    if not 0 <= bits <= MAX_BITS:
        raise ValueError(f"0 to {MAX_BITS} differing bits can be searched, not {bits}")
    if len(a) == 0 or len(b) == 0:
        return np.full(len(a), -1, np.int64)
    left, back = np.unique(a, return_inverse=True)
    right, first = np.unique(b, return_index=True)
    best = np.full(len(left), NONE)
    for mask in _masks():
        _compare_equal_keys(left, right, first, mask, bits, best)
    place = np.where(best == NONE, -1, best & ((1 << PLACE_BITS) - 1))
    return place[back]


def _masks() -> list[np.uint64]:
    edges = np.linspace(0, HASH_BITS, BLOCKS + 1).round().astype(int)
    blocks = [sum(1 << i for i in range(*pair)) for pair in zip(edges[:-1], edges[1:], strict=True)]
    return [np.uint64(sum(chosen)) for chosen in combinations(blocks, SHARED)]


def _compare_equal_keys(
    left: np.ndarray,
    right: np.ndarray,
    first: np.ndarray,
    mask: np.uint64,
    bits: int,
    best: np.ndarray,
) -> None:
    """Lower ``best``, distance above position in b, by the pairs with one masked key."""
    key = right & mask
    order = np.lexsort([first, key])
    key = key[order]
    low = np.searchsorted(key, left & mask, side="left")
    count = np.searchsorted(key, left & mask, side="right") - low
    _compare_crowds(left, right[order], first[order], low, count, bits, best)
    there = np.flatnonzero((count > 0) & (count < CROWD))
    total = np.cumsum(count[there])
    start = 0
    while start < len(there):
        done = total[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(total, done + PAIRS_AT_ONCE, side="right")))
        mine = there[start:stop]
        counts = count[mine]
        begins = np.cumsum(counts) - counts
        within = np.arange(int(counts.sum())) - np.repeat(begins, counts)
        other = order[np.repeat(low[mine], counts) + within]
        distance = np.bitwise_count(np.repeat(left[mine], counts) ^ right[other]).astype(np.int64)
        score = np.where(distance <= bits, (distance << PLACE_BITS) + first[other], NONE)
        best[mine] = np.minimum(best[mine], np.minimum.reduceat(score, begins))
        start = stop


def _compare_crowds(
    left: np.ndarray,
    right: np.ndarray,
    first: np.ndarray,
    low: np.ndarray,
    count: np.ndarray,
    bits: int,
    best: np.ndarray,
) -> None:
    """Do the same for keys that many of ``right`` have (ordered by key, then position in b).

    Pictures with large flat areas have most bits 0 and crowd under few keys; whole rows of
    distances then cost a tenth of single pairs.
    """
    crowded = np.flatnonzero(count >= CROWD)
    crowded = crowded[np.argsort(low[crowded], kind="stable")]
    edges = np.flatnonzero(np.diff(low[crowded], prepend=-1, append=-1))
    for begin, end in zip(edges[:-1], edges[1:], strict=True):
        bucket = slice(low[crowded[begin]], low[crowded[begin]] + count[crowded[begin]])
        step = max(1, PAIRS_AT_ONCE // (bucket.stop - bucket.start))
        for i in range(begin, end, step):
            mine = crowded[i : min(i + step, end)]
            distance = np.bitwise_count(left[mine, None] ^ right[None, bucket])
            nearest = distance.argmin(axis=1)
            least = distance[np.arange(len(mine)), nearest].astype(np.int64)
            score = np.where(least <= bits, (least << PLACE_BITS) + first[bucket][nearest], NONE)
            best[mine] = np.minimum(best[mine], score)
