"""The table of the strategies' trials: steady figure, noise floor, and chance where chance wins."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from strategy_table import (  # noqa: E402
    FIGURE,
    against_chance,
    markdown,
    noise_sd,
    sentence,
)


def trials(
    effect: float, noise: float, seeds: int = 10, repeats: int = 2, chance_seed: int = 0
) -> list[dict]:
    """Drawn trials: arm ``places`` multiplies FAR by ``effect``, a training by noise."""
    rng = np.random.default_rng(chance_seed)
    rows = []
    for seed in range(seeds):
        level = rng.normal(np.log(5), 0.4)
        for arm, shift in (("random", 0.0), ("balanced", 0.0), ("places", np.log(effect))):
            for repeat in range(repeats + 1 if arm == "random" and seed < 3 else 1):
                far = float(np.exp(level + shift + noise * rng.normal()))
                tag = {"regime": "pretrained/balanced", "shift": 0, "seed": seed, "lap": 2}
                found = {"far": {"100": far * 3, "99": far * 2, "95": far}, FIGURE: far}
                rows.append({**tag, "arm": arm, "repeat": repeat, **found})
    return rows


def test_the_noise_floor_is_the_spread_within_tables_not_between_seeds() -> None:
    rows = trials(1.0, 0.3, repeats=200)
    sd, trainings = noise_sd(rows, "pretrained/balanced", 2)
    assert sd == pytest.approx(0.3, rel=0.1) and trainings == 3 * 201
    alone = [r for r in rows if not r["repeat"]]
    assert np.isnan(noise_sd(alone, "pretrained/balanced", 2)[0])


def test_an_arm_that_is_surely_better_is_recommended_with_its_figures() -> None:
    rows = trials(0.4, 0.1)
    told = sentence(rows, "pretrained/balanced", 2)
    assert "`places`" in told and "10 of 10" in told and "two trainings of one table" in told
    (best, *_) = against_chance(rows, "pretrained/balanced", 2)
    assert best["arm"] == "places" and best["ratio"] == pytest.approx(0.4, abs=0.05)
    # Exact p of ten of ten, corrected for two arms.
    assert best["p"] == pytest.approx(2 / 1024)
    lines = markdown(rows).splitlines()
    assert len([line for line in lines if line.startswith("| pretrained/balanced | 2 |")]) == 3


def test_chance_is_said_where_nothing_is_surely_better() -> None:
    named = [
        sentence(trials(1.0, 0.3, chance_seed=seed), "pretrained/balanced", 2) for seed in range(15)
    ]
    assert sum("chance; no strategy" in told for told in named) >= 14


def test_a_difference_within_the_noise_is_no_recommendation_however_small_its_p() -> None:
    rows = trials(0.9, 0.001)
    assert "`places`" in sentence(rows, "pretrained/balanced", 2)
    noisy = [r | {FIGURE: r[FIGURE] * (1 + 2 * r["repeat"])} for r in rows]
    assert "chance" in sentence(noisy, "pretrained/balanced", 2)


def test_a_regime_without_repeats_says_that_its_noise_is_unknown() -> None:
    rows = [r for r in trials(0.4, 0.1) if not r["repeat"]]
    told = sentence(rows, "pretrained/balanced", 2)
    assert "`places`" in told and "was not measured" in told
    assert " ? " in markdown(rows)
    assert sentence(rows, "scratch/balanced", 2).endswith("no trial yet.")
