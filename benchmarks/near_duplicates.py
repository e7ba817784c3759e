"""Leakage by content at size: digests and near-duplicates of a pool against held-out pictures.

    python benchmarks/near_duplicates.py         # made-up fingerprints, 10^6 pool, 10^4 held out

Prints seconds and ratios: against comparing all with all (timed on a part of the pool, since the
whole would take minutes), and over ten times the pool. Hashes are drawn evenly, and crowded as
those of pictures with large flat areas are (most bits 0); in the worst case nine of ten pool rows
have a near-duplicate.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from deft.tables.fingerprint import Fingerprint
from deft.tables.leakage import NEAR_BITS, find_content_leaks, find_near_duplicates
from deft.tables.near_duplicates import nearest_within

SEED = 20
PART = 2000  # pool hashes that are compared with all for the ratio
BIT_SHARES = {"even": 0.5, "crowded": 0.15, "worst": 0.05}


def hashes(count: int, share: float, seed: int) -> np.ndarray:
    """Return uint64 (count,) whose bits are 1 with probability ``share``."""
    rng = np.random.default_rng(seed)
    drawn = np.empty(count, np.uint64)
    for start in range(0, count, 50_000):
        part = drawn[start : start + 50_000]
        bits = rng.random((len(part), 64), np.float32) < share
        part[:] = np.packbits(bits, axis=1).view(np.uint64).ravel()
    return drawn


def all_with_all(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return per hash of ``a`` the nearest of ``b`` within the limit, or -1; quadratic."""
    place = np.full(len(a), -1, np.int64)
    for i, one in enumerate(a):
        distance = np.bitwise_count(b ^ one)
        nearest = int(distance.argmin())
        place[i] = nearest if distance[nearest] <= NEAR_BITS else -1
    return place


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pool", type=int, default=1_000_000)
    parser.add_argument("--held-out", type=int, default=10_000)
    given = parser.parse_args()
    for name, share in BIT_SHARES.items():
        pool, held = hashes(given.pool, share, SEED), hashes(given.held_out, share, SEED + 1)
        pool[::1000] = held[np.arange(0, given.pool, 1000) % len(held)] ^ np.uint64(0b1001)
        taken = []
        for count in (given.pool // 10, given.pool):
            began = time.perf_counter()
            place = nearest_within(pool[:count], held)
            taken.append(time.perf_counter() - began)
        began = time.perf_counter()
        slow = all_with_all(pool[:PART], held)
        full = (time.perf_counter() - began) * given.pool / PART
        if not np.array_equal(slow, place[:PART]):
            raise SystemExit("the index and the full comparison disagree")
        sides = [
            [(i, "", Fingerprint(f"{name}{side}{i}", int(h))) for i, h in enumerate(values)]
            for side, values in (("a", pool), ("b", held))
        ]
        began = time.perf_counter()
        leaks = len(find_content_leaks(*sides)) + len(find_near_duplicates(*sides))
        whole = time.perf_counter() - began
        print(
            f"{name} hashes, {given.pool:,} x {given.held_out:,}: index {taken[1]:.1f} s, all with "
            f"all {full / taken[1]:.0f} times that; ten times the pool takes "
            f"{taken[1] / taken[0]:.1f} times; digests and near-duplicates with their rows "
            f"{whole:.1f} s, {leaks:,} found"
        )


if __name__ == "__main__":
    main()
