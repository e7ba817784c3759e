"""Bounds of very many counts are those of each count."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deft.kpi import many_bounds
from deft.kpi.many_bounds import BLOCK, EDGE, bounds_of
from deft.kpi.operating_point import far_upper_bound, recall_lower_bound

BOUNDS = (recall_lower_bound, far_upper_bound)


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("total", [BLOCK, 2 * EDGE + BLOCK - 1, 2 * EDGE + BLOCK, 30_011])
def test_each_is_the_exact_one_within_the_inversion(bound, total: int) -> None:
    counts = np.arange(total + 1)
    found = bounds_of(bound, counts, total)
    np.testing.assert_allclose(found, bound(counts, np.full(total + 1, total)), rtol=1e-14)
    assert (np.diff(found) > 0).all()


@pytest.mark.parametrize("bound", BOUNDS)
@given(total=st.integers(10**5, 10**6), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=6, deadline=None)
def test_the_largest_tables_too(bound, total: int, seed: int) -> None:
    counts = np.random.default_rng(seed).integers(0, total + 1, 2 * BLOCK)
    few = counts[:50]
    exact = bound(few, np.full(50, total))
    np.testing.assert_allclose(bounds_of(bound, counts, total)[:50], exact, rtol=1e-13)


def test_the_scipy_distribution_says_the_same() -> None:
    """An independent reference: the quantile of the distribution, not the function's inverse."""
    from scipy.stats import beta

    counts = np.arange(0, 20_001)
    found = bounds_of(far_upper_bound, counts, 20_000)[5_000:15_000:100]
    rejected = counts[5_000:15_000:100]
    np.testing.assert_allclose(found, beta.ppf(0.95, rejected + 1, 20_000 - rejected), rtol=1e-13)


def test_few_counts_are_computed_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of a usual size keep their bytes."""
    monkeypatch.setattr(many_bounds, "_every_bound", None)
    counts = np.repeat(np.arange(0, 10**6, 1000), 3)
    found = bounds_of(far_upper_bound, counts, 10**6)
    assert np.array_equal(found, far_upper_bound(counts, np.full(len(counts), 10**6)))
