"""Nearest hashes against comparing all with all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deft.tables import near_duplicates
from deft.tables.near_duplicates import nearest_within


def brute_force(a, b, bits):
    answer = []
    for x in a:
        distance = [(int(x) ^ int(y)).bit_count() for y in b]
        best = min(distance, default=64)
        answer.append(distance.index(best) if best <= bits else -1)
    return answer


def crowd(seed, n, m, ones=0.5, flips=4):
    """Hashes whose bits are set with probability ``ones``; half of a are b with flipped bits."""
    rng = np.random.default_rng(seed)

    def draw(count):
        set_ = (rng.random((count, 64)) < ones).astype(np.uint8)
        return np.packbits(set_, axis=1).view(np.uint64).ravel()

    a, b = draw(n), draw(m)
    for i in range(0, n, 2):
        chosen = rng.choice(64, int(rng.integers(0, flips + 1)), replace=False)
        a[i] = b[rng.integers(m)] ^ np.bitwise_or.reduce(
            np.uint64(1) << chosen.astype(np.uint64), initial=np.uint64(0)
        )
    return a, b


@given(
    seed=st.integers(0, 2**31),
    n=st.integers(1, 60),
    m=st.integers(1, 60),
    ones=st.sampled_from([0.02, 0.1, 0.5]),
    bits=st.integers(0, 3),
)
@settings(max_examples=150, deadline=None)
def test_equals_brute_force_also_where_hashes_crowd(seed, n, m, ones, bits):
    a, b = crowd(seed, n, m, ones)
    assert nearest_within(a, b, bits).tolist() == brute_force(a, b, bits)


def test_every_way_to_flip_three_bits_is_found():
    base = np.array([0x0123456789ABCDEF], np.uint64)
    rng = np.random.default_rng(0)
    for _ in range(400):
        chosen = rng.choice(64, 3, replace=False)
        flipped = base ^ np.bitwise_or.reduce(np.uint64(1) << chosen.astype(np.uint64))
        assert nearest_within(flipped, base).tolist() == [0]
    last = np.uint64(1) << np.uint64(63) | np.uint64(0b111)
    assert nearest_within(base ^ last, base).tolist() == [-1]


def test_parts_and_crowds_do_not_matter(monkeypatch):
    a, b = crowd(1, 500, 300, ones=0.03)
    whole = nearest_within(a, b)
    assert whole.tolist() == brute_force(a, b, 3)
    for pairs, crowd_ in ((7, 64), (2**21, 2), (7, 2), (2**21, 10**9)):
        monkeypatch.setattr(near_duplicates, "PAIRS_AT_ONCE", pairs)
        monkeypatch.setattr(near_duplicates, "CROWD", crowd_)
        assert np.array_equal(nearest_within(a, b), whole)


def test_nothing_on_a_side_and_too_many_bits():
    none = np.zeros(0, np.uint64)
    one = np.ones(1, np.uint64)
    assert nearest_within(none, one).tolist() == [] and nearest_within(one, none).tolist() == [-1]
    with pytest.raises(ValueError, match="not 4"):
        nearest_within(one, one, 4)
