"""Bounds and drift without scipy, against scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from deft.kpi.operating_point import far_upper_bound, recall_lower_bound
from deft.score_kit.statistics import KEPT, counted, drift, lower_bound, reference, upper_bound

RNG = np.random.default_rng(0)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_bounds_are_the_pipelines(found):
    count, total = found
    assert upper_bound(count, total) == pytest.approx(
        float(far_upper_bound(count, total)), abs=1e-9
    )
    assert lower_bound(count, total) == pytest.approx(
        float(recall_lower_bound(count, total)), abs=1e-9
    )


def test_bounds_of_many_parts():
    for count in (0, 3, 500, 99_999, 100_000):
        want = float(far_upper_bound(count, 100_000))
        assert upper_bound(count, 100_000) == pytest.approx(want, abs=1e-9)


def test_rates_count_rows_with_a_label_at_the_threshold():
    scores = np.array([0.1, 0.5, 0.50001, 0.9, 0.2, 0.9], np.float32)
    labels = ["PASS", "PASS", "PASS", "bridge", "bridge", ""]
    found = counted(scores, labels, 0.5)
    assert (found["tn"], found["fp"], found["tp"], found["fn"]) == (2, 1, 1, 1)
    assert found["far_pct"] == pytest.approx(100 / 3) and found["recall_pct"] == 50
    assert found["labelled"] == 5
    one = counted(scores[:3], ["PASS"] * 3, 0.5)
    assert one["recall_pct"] is None and one["recall_lower95_pct"] is None and one["far_pct"] > 33


def kpi(good, defects, threshold=0.5):
    scores = np.concatenate([good, defects]).astype(np.float32)
    told = reference(scores, np.arange(len(scores)) < len(good), threshold)
    return {**told, **{n: np.asarray(told[n], np.float32) for n in ("good", "defects")}}


def test_drift_is_told_where_good_parts_score_higher_and_not_where_defects_are_more():
    told = kpi(RNG.beta(2, 30, 400), RNG.uniform(0.6, 1, 90))
    same, defects = RNG.beta(2, 30, 500), RNG.uniform(0.6, 1, 400)
    assert drift(np.concatenate([same, defects]), told)["drifted"] is False
    shifted = drift(RNG.beta(3, 25, 500), told)
    assert (
        shifted["drifted"] is True and shifted["quantiles"]["50"] > shifted["kpi_quantiles"]["50"]
    )
    few = drift(same[:10], told)
    assert few["drifted"] is None and few["distance"] is None and few["passing"] <= 10


@pytest.mark.parametrize(
    ("sizes", "shift"), [((200, 200), 0), ((100, 300), 0.3), ((900, 500), 0.1)]
)
def test_distance_and_chance_are_scipys(sizes, shift):
    old, new = RNG.uniform(0, 0.4, sizes[0]), RNG.uniform(0, 0.4, sizes[1]) * (1 - shift / 2)
    found, want = (
        drift(new, kpi(old, [0.9])),
        ks_2samp(new.astype(np.float32), old.astype(np.float32), method="asymp"),
    )
    assert found["distance"] == pytest.approx(want.statistic, abs=1e-6)
    assert found["p"] == pytest.approx(want.pvalue, abs=0.02)


def test_a_large_reference_keeps_its_ends_and_its_counts():
    good = RNG.uniform(0, 0.7, 3 * KEPT)
    told = reference(good.astype(np.float32), np.ones(len(good), bool), 0.5)
    assert len(told["good"]) == KEPT and told["defects"] == []
    assert told["good"][0] == pytest.approx(good.min()) and told["good"][-1] == pytest.approx(
        good.max()
    )
    assert told["counts"]["fp"] == (good.astype(np.float32) > 0.5).sum()
