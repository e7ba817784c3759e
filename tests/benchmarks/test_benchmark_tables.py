"""The comparison of arms that the benchmarks print."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from paired import HEAD, compared, sign_flip_p  # noqa: E402


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=7))
@settings(max_examples=60, deadline=None)
def test_p_is_the_share_of_sign_flips_that_are_as_low(pairs):
    ours, others = np.array(pairs, float).T
    difference = ours - others
    flips = [
        (difference * signs).sum() for signs in itertools.product((1, -1), repeat=len(difference))
    ]
    want = np.mean(np.array(flips) <= difference.sum() + 1e-9)
    assert sign_flip_p(ours, others) == pytest.approx(want)


def test_arms_are_compared_over_the_pairs_that_both_have():
    far = {
        "random": {(0, 0): 20.0, (0, 1): 40.0, (0, 2): 9.0},
        "places": {(0, 0): 10.0, (0, 1): 20.0, (2, 0): 1.0},
        "none": {(9, 9): 1.0},
    }
    (line,) = compared(far, ["random", "none", "places"], lap=2)
    assert dict(zip(HEAD, line, strict=True)) == {
        "arm": "places", "against": "random", "lap": 2, "pairs": 2, "mean": "15.00 %",
        "of the other": "30.00 %", "ratio": "0.50", "better on": "2 of 2", "p": "0.250",
    }  # fmt: skip


def test_views_are_compared_with_one_view_over_the_seeds_that_are_there():
    import score_views

    def row(seed, one, turns):
        means = {"one": one, "turns": turns, "dihedral": one}
        far = dict.fromkeys(("100", "99.5", "99", "95"), 1.5)
        views = {n: {"far": far, "far_geometric_mean_pct": m} for n, m in means.items()}
        cost = {"one": 0.01, "turns": 0.04, "dihedral": 0.08}
        return {"seed": seed, "views": views, "s_a_pair": cost}

    lines = score_views.markdown([row(1, 8.0, 2.0), row(0, 2.0, 4.0)]).splitlines()
    assert lines[2].startswith("| 0 | one | 2.00 % | 1.50 % |")
    assert lines[-3] == "| one | 4.00 % | – | – | 1.0 × |"
    assert lines[-2] == "| turns | 2.83 % | 1 of 2 | 0.500 | 4.0 × |"
    assert lines[-1].startswith("| dihedral | 4.00 % | 0 of 2 |")
