"""The KPI against a brute-force reference and scipy's binomial test."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binomtest

from deft.core.errors import HardStop
from deft.kpi import operating_point

SCORES = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.75, 0.9, 1.0]), st.booleans()),
    min_size=2,
    max_size=40,
).filter(lambda rows: len({ng for _, ng in rows}) == 2)


def brute_force(scores, ng, threshold):
    rejected = [np.float32(s) > np.float32(threshold) for s in scores]
    tp = sum(r and n for r, n in zip(rejected, ng, strict=True))
    fp = sum(r and not n for r, n in zip(rejected, ng, strict=True))
    return tp, fp, sum(ng) - tp, len(ng) - sum(ng) - fp


@given(SCORES)
@settings(max_examples=200, deadline=None)
def test_sweep_counts_like_a_loop_over_samples(rows):
    scores, ng = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    table = operating_point.sweep(scores, ng)
    for i, threshold in enumerate(table["threshold"]):
        tp, fp, fn, tn = brute_force(scores, ng, threshold)
        assert (table["tp"][i], table["fp"][i], table["fn"][i], table["tn"][i]) == (tp, fp, fn, tn)


@given(SCORES, st.sampled_from([0.5, 0.9, 0.95, 1.0]))
@settings(max_examples=200, deadline=None)
def test_recall_point_is_the_best_of_those_that_reach_the_recall(rows, min_recall):
    scores, ng = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    table = operating_point.sweep(scores, ng)
    index = operating_point.recall_point(table, min_recall)
    best = None
    for i, threshold in enumerate(table["threshold"]):
        tp, fp, fn, _ = brute_force(scores, ng, threshold)
        if tp / (tp + fn) < min_recall - 1e-12:
            continue
        precision = tp / (tp + fp) if tp + fp else 0.0
        f1 = 2 * tp / (2 * tp + fp + fn) if tp else 0.0
        key = (f1, precision, threshold)
        if best is None or key > best[0]:
            best = (key, i)
    assert index == best[1]


def test_every_recall_is_reachable_since_the_lowest_candidate_rejects_all():
    table = operating_point.sweep(np.array([0.5, 0.5, 0.5]), np.array([True, False, False]))
    point = operating_point.at_recall(table, 1.0)
    assert (point["tp"], point["fp"], point["fn"]) == (1, 2, 0)
    assert point["threshold"] < 0.5
    assert point["far"] == 1.0


def test_recall_point_is_none_when_the_table_cannot_reach_it():
    table = operating_point.sweep(np.array([0.2, 0.8]), np.array([True, False]))
    cut = {name: values[1:] for name, values in table.items()}  # without the reject-all candidate
    assert operating_point.recall_point(cut, 1.0) is None
    assert operating_point.best_recall(cut) == 0.0


def test_best_f1_prefers_recall_then_the_higher_threshold():
    scores = np.array([0.1, 0.4, 0.6, 0.9])
    table = operating_point.sweep(scores, np.array([False, False, True, True]))
    assert table["threshold"][operating_point.best_f1_point(table)] == np.float32(0.4)


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@settings(max_examples=100, deadline=None)
def test_bounds_are_scipys_exact_one_sided_intervals(case):
    k, n = case
    low = binomtest(k, n, alternative="greater").proportion_ci(0.95, "exact").low
    high = binomtest(k, n, alternative="less").proportion_ci(0.95, "exact").high
    assert operating_point.recall_lower_bound(k, n) == pytest.approx(low, abs=1e-9)
    assert operating_point.far_upper_bound(k, n) == pytest.approx(high, abs=1e-9)


@pytest.mark.parametrize("n", [1, 2, 50, 1000, 10**6])
def test_bounds_of_whole_columns_are_scipys_quantiles(n):
    k = np.unique(np.linspace(0, n, 200).round().astype(int))
    low = np.where(k == 0, 0.0, beta.ppf(1 - 0.95, np.maximum(k, 1), n - k + 1))
    high = np.where(k == n, 1.0, beta.ppf(0.95, k + 1, np.maximum(n - k, 1)))
    total = np.full(k.shape, n)
    np.testing.assert_allclose(operating_point.recall_lower_bound(k, total), low, rtol=1e-12)
    np.testing.assert_allclose(operating_point.far_upper_bound(k, total), high, rtol=1e-12)


def test_no_part_bounds_no_rate():
    none = np.zeros(1, dtype=int)
    assert operating_point.recall_lower_bound(none, none) == 0
    assert operating_point.far_upper_bound(none, none) == 1


def test_fifty_of_fifty_proves_only_94_percent():
    assert 100 * operating_point.recall_lower_bound(50, 50) == pytest.approx(94.18, abs=0.01)


def test_scores_that_are_not_finite_are_named_by_their_csv_row():
    with pytest.raises(HardStop) as stop:
        operating_point.check_scores(np.array([0.1, np.nan]), np.array([True, False]), file="x.csv")
    assert stop.value.code == "score_invalid"
    assert stop.value.rows == [3]


@pytest.mark.parametrize("ng", [[True, True], [False, False]])
def test_a_one_class_kpi_set_is_refused(ng):
    with pytest.raises(HardStop) as stop:
        operating_point.check_scores(np.array([0.1, 0.2]), np.array(ng))
    assert stop.value.code == "kpi_invalid"


@pytest.mark.parametrize(
    ("sentence", "far", "recall", "strict"),
    [
        ("FAR < 0.1% at recall=100%", 0.1, 1.0, True),
        ("fine-tune until FAR below 0.1% at recall=100%", 0.1, 1.0, True),
        ("until false accept rate is at most 2 % at 99% recall", 2.0, 0.99, False),
        ("false alarm rate (FAR) <= 1 % @ recall 99.5%", 1.0, 0.995, False),
    ],
)
def test_kpi_sentences(sentence, far, recall, strict):
    target = operating_point.parse_kpi(sentence)
    assert (target.far_max_pct, target.strict) == (far, strict)
    assert target.min_recall == pytest.approx(recall)


@pytest.mark.parametrize(
    "sentence",
    [
        "until it is good",
        "FAR < 120% at recall=100%",
        "FAR < 1% at recall=0%",
        "false alarm rate (FAR) <= 1 % @ recall 0.995",  # a fraction beside a percentage
        "FAR < 5",
    ],
)
def test_sentences_without_a_usable_target_are_refused(sentence):
    with pytest.raises(HardStop) as stop:
        operating_point.parse_kpi(sentence)
    assert stop.value.code == "kpi_invalid"


def test_strict_and_lenient_targets_differ_at_the_bound():
    assert not operating_point.parse_kpi("FAR < 1%").met(1.0)
    assert operating_point.parse_kpi("FAR <= 1%").met(1.0)


@pytest.mark.parametrize(
    ("scores", "alike"),
    [
        ([0.5, 0.5, 0.5], True),
        ([0.5, np.nextafter(np.float32(0.5), np.float32(1))], True),  # float noise
        ([1.0, 1 - 5e-7], True),
        ([0.0, 0.0], True),
        ([0.4997, 0.5003], False),  # an hour into a training
        ([1e-9, 2e-9], False),  # small, and yet an order
        ([0.0, 1e-12], False),
        ([0.55485, 0.55547], False),  # one epoch of the smallest network
        ([3.0, 9.0], False),
    ],
)
def test_scores_that_tell_nothing(scores, alike):
    assert operating_point.all_alike(np.array(scores, np.float32)) is alike
