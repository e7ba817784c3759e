"""The noise floor: its factor against scipy's t, and how often two trainings lie within it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import gmean, t

from deft.kpi.noise import noise_floor


def test_figures_of_known_trainings() -> None:
    means = [2.1, 3.8, 9.3, 0.9]
    found = noise_floor(means)
    assert found["trainings"] == 4 and (found["lowest_pct"], found["highest_pct"]) == (
        pytest.approx(0.9),
        pytest.approx(9.3),
    )
    assert found["mean_pct"] == pytest.approx(gmean(means))
    spread = np.log(means).std(ddof=1)
    assert found["factor"] == pytest.approx(np.exp(t.ppf(0.975, 3) * np.sqrt(2) * spread))


@pytest.mark.parametrize("trainings", [2, 5, 10])
def test_two_further_trainings_lie_within_the_factor_in_19_of_20_cases(trainings: int) -> None:
    rng = np.random.default_rng(trainings)
    within = 0
    for _ in range(2000):
        drawn = np.exp(rng.normal(1, 0.7, trainings + 2))
        ratio = drawn[-1] / drawn[-2]
        factor = noise_floor(drawn[:-2])["factor"]
        within += 1 / factor <= ratio <= factor
    assert 0.935 * 2000 <= within <= 0.965 * 2000


@pytest.mark.parametrize("means", [[1.0], [1.0, 0.0], [1.0, float("nan")]])
def test_it_needs_two_and_no_zero(means: list[float]) -> None:
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="two or more"):
        noise_floor(means)
