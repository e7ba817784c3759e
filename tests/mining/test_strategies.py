"""Selection strategies: shares, places, distances, copies; the order of rows changes nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pool_frames import frames

from deft.core.errors import HardStop
from deft.embedding.embed import normalise
from deft.embedding.vectors import ArrayVectors
from deft.mining import neighbours
from deft.mining.strategies import STRATEGIES, Lap, Problem, Rules, choose, select
from deft.mining.strategies.place import GRID, NOWHERE, cell, cells_of, difference
from deft.mining.strategies.quotas import balanced_shares, merged, within_quota
from deft.mining.strategies.rows import advice, copies_in, part_vectors
from deft.mining.strategies.spread import first_of_copies, keep_apart


def problem_of(labels, *, free=None, nearness=None, vectors=None, cells=None, budget=10, seed=0):
    labels = np.array(labels, dtype=object)
    n = len(labels)
    vectors = (
        normalise(np.random.default_rng(1).normal(size=(n, 4))) if vectors is None else vectors
    )
    return Problem(
        labels=labels,
        free=np.ones(n, bool) if free is None else np.asarray(free, bool),
        nearness=np.full(n, -np.inf) if nearness is None else np.asarray(nearness, float),
        vectors=lambda positions: vectors[positions],
        cells=lambda positions: np.asarray(cells)[positions],
        budget=budget,
        seed=seed,
    )


# --- shares -------------------------------------------------------------------------------------


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(0, 30), max_size=6),
    st.integers(0, 80),
    st.data(),
)
@settings(max_examples=200, deadline=None)
def test_merging_takes_everything_once_and_keeps_each_labels_order(counts, length, data):
    shares = {k: data.draw(st.sampled_from([0.0, 0.1, 0.5, 2.0]), label=k) for k in counts}
    ids = iter(range(10_000))
    orders = {k: np.array([next(ids) for _ in range(n)], np.int64) for k, n in counts.items()}
    out = merged(orders, shares, length)
    assert len(out) == min(length, sum(counts.values())) == len(set(out.tolist()))
    for order in orders.values():
        mine = [x for x in out.tolist() if x in set(order.tolist())]
        assert mine == order[: len(mine)].tolist()


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 60))
def test_every_beginning_has_the_shares_to_within_one_part(weights, length):
    orders = {f"{i}": np.arange(1000 * i, 1000 * i + 100) for i in range(len(weights))}
    shares = {f"{i}": float(w) for i, w in enumerate(weights)}
    found = np.bincount(merged(orders, shares, length) // 1000, minlength=len(weights))
    wanted = length * np.array(weights) / sum(weights)
    # Webster's method stays within one seat of the quota except in contrived cases; two are safe.
    assert (np.abs(found - wanted) < 2).all()


def test_a_label_that_runs_out_leaves_its_places_to_the_others():
    orders = {"a": np.array([0]), "b": np.arange(10, 20), "c": np.arange(20, 30)}
    out = merged(orders, {"a": 1.0, "b": 1.0, "c": 1.0}, 9)
    assert (out < 10).sum() == 1 and abs((out < 20).sum() - 5) <= 1
    with pytest.raises(ValueError, match="below 0"):
        merged(orders, {"a": -1.0}, 3)


def test_a_label_without_share_comes_last():
    orders = {"a": np.arange(3), "b": np.arange(10, 13)}
    assert merged(orders, {"a": 1.0, "b": 0.0}, 5).tolist() == [0, 1, 2, 10, 11]


def test_shares_are_half_good_and_the_rest_even():
    assert balanced_shares(["PASS", "x", "y"], 0.5) == {"PASS": 0.5, "x": 0.25, "y": 0.25}
    assert balanced_shares(["x", "y"], 0.5) == {"x": 0.5, "y": 0.5}
    assert balanced_shares(["PASS"], 0.2) == {"PASS": 1.0}


def test_quota_limits_only_the_labels_that_it_names():
    labels = np.array(["a", "a", "a", "b", "b", "b"], dtype=object)
    order = np.array([2, 5, 1, 4, 0, 3])
    assert within_quota(order, labels, {"a": 0.3}, 10).tolist() == order.tolist()
    assert within_quota(order, labels, {"a": 0.1}, 10).tolist() == [2, 5, 4, 3]
    assert within_quota(order, labels, {"a": 0.0}, 10).tolist() == [5, 4, 3]


# --- strategies ---------------------------------------------------------------------------------


@given(st.sampled_from(sorted(STRATEGIES)), st.integers(0, 40), st.integers(0, 2**31))
@settings(max_examples=100, deadline=None)
def test_a_choice_is_free_distinct_within_the_budget_and_repeatable(name, budget, seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice(["PASS", "open", "spur"], 30)
    given_ = {
        "free": rng.random(30) < 0.7,
        "nearness": np.round(rng.random(30), 1),  # many ties
        "cells": rng.integers(-1, 4, 30),
        "budget": budget,
        "seed": seed,
    }
    rules = Rules(min_distance=float(rng.choice([0.0, 0.4])), label_quota={"open": 0.25})
    found = choose(name, problem_of(labels, **given_), rules)
    assert len(found) <= budget and len(set(found.tolist())) == len(found)
    assert np.asarray(given_["free"])[found].all()
    assert (labels[found] == "open").sum() <= 0.25 * budget
    again = choose(name, problem_of(labels, **given_), rules)
    np.testing.assert_array_equal(found, again)


def test_nearest_orders_by_similarity_then_position_and_minds_the_cutoff():
    problem = problem_of(["a"] * 5, nearness=[0.5, 0.9, 0.9, -np.inf, 0.95], budget=3)
    assert choose("nearest", problem, Rules(min_similarity=0.6)).tolist() == [4, 1, 2]
    assert choose("nearest", problem, Rules(min_similarity=0.92)).tolist() == [4]


def test_balanced_gives_rare_labels_their_even_share():
    labels = ["PASS"] * 200 + ["open"] * 90 + ["spur"] * 5
    found = choose("balanced", problem_of(labels, budget=40), Rules(good_share=0.5))
    chosen = pd.Series(np.array(labels)[found]).value_counts()
    assert chosen["spur"] == 5 and abs(chosen["PASS"] - 23) <= 1
    other = choose("balanced", problem_of(labels, budget=40, seed=1), Rules(good_share=0.5))
    assert set(found.tolist()) != set(other.tolist())


def test_places_take_the_rare_places_of_each_label():
    labels = ["PASS"] * 100 + ["open"] * 60
    cells = [0] * 100 + [5] * 54 + [0, 0, 3, 3, 12, 15]
    problem = problem_of(labels, cells=cells, budget=40)
    found = choose("places", problem, Rules(good_share=0.5))
    assert set(range(154, 160)) <= set(found.tolist())
    assert (found < 100).sum() == 20
    blind = choose("balanced", problem, Rules(good_share=0.5))
    assert len(set(range(154, 160)) & set(blind.tolist())) < 6


def test_places_ask_for_defects_only():
    asked = []
    problem = problem_of(["PASS"] * 4 + ["open"] * 3, budget=6)

    def cells(positions):
        asked.extend(positions.tolist())
        return np.zeros(len(positions), np.int64)

    choose("places", Problem(**{**vars(problem), "cells": cells}), Rules())
    assert sorted(asked) == [4, 5, 6]


# --- distance and copies --------------------------------------------------------------------------


@given(st.integers(0, 2**31), st.integers(1, 60), st.floats(0.05, 1.9), st.integers(1, 60))
@settings(max_examples=100, deadline=None)
def test_keep_apart_is_the_greedy_rule(seed, n, distance, wanted):
    rng = np.random.default_rng(seed)
    vectors = normalise(rng.integers(-1, 2, (n, 3)) + 0.01)  # near-copies and exact ones
    order = rng.permutation(n)
    found = keep_apart(lambda p: vectors[p], order, distance, wanted)
    kept = []
    for place, position in enumerate(order):
        row = vectors[position].astype(np.float64)
        far = [round(float(1 - row @ vectors[order[k]].astype(np.float64)), 6) for k in kept]
        if len(kept) < wanted and all(d >= distance for d in far):
            kept.append(place)
    assert found.tolist() == kept


@given(st.lists(st.integers(0, 63), max_size=40), st.integers(0, 3))
@settings(max_examples=150, deadline=None)
def test_copies_go_as_if_taken_one_after_another(small, bits):
    hashes = np.array(small, np.uint64)
    kept: list[int] = []
    want = []
    for value in small:
        stays = all((value ^ other).bit_count() > bits for other in kept)
        want.append(stays)
        if stays:
            kept.append(value)
    assert first_of_copies(hashes, bits).tolist() == want


def test_copies_are_sought_within_a_label_and_a_light():
    pool = pd.DataFrame(
        {"filepath": ["/c", "/b", "/a", "/d"], "light": ["L", "L", "L", "M"],
         "label": ["PASS", "open", "PASS", "PASS"]}
    )  # fmt: skip
    gone = copies_in(pool, np.array([7, 7, 7, 7], np.uint64), 0)
    assert gone.tolist() == [True, False, False, False]  # /a comes before /c


# --- places ---------------------------------------------------------------------------------------


def test_a_defect_is_found_where_it_lies_and_a_shift_is_none():
    golden = np.zeros((96, 96), np.uint8)
    golden[:, 40:60] = 255
    shifted = np.roll(golden, 1, axis=1)
    assert cell(shifted, golden) == (NOWHERE, 0.0)
    for row, column in ((0, 0), (3, 3), (1, 2)):
        test = shifted.copy()
        y, x = row * 24 + 9, column * 24 + 9
        test[y : y + 6, x : x + 6] = 255 - test[y : y + 6, x : x + 6]
        assert cell(test, golden)[0] == row * GRID + column
    assert difference(shifted, golden).max() == 0


def test_cells_read_pictures_and_take_the_light_that_differs_most(tmp_path):
    blank = np.full((48, 48, 3), 90, np.uint8)
    faint, plain = blank.copy(), blank.copy()
    faint[2:8, 2:8] += 20
    plain[40:46, 40:46] += 100
    for name, picture in (("golden", blank), ("faint", faint), ("plain", plain)):
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    golden, faint, plain = (tmp_path / f"{n}.png" for n in ("golden", "faint", "plain"))
    parts = [[(faint, golden)], [(faint, golden), (plain, golden)], [(golden, golden)]]
    assert cells_of(parts).tolist() == [0, GRID * GRID - 1, NOWHERE]
    with pytest.raises(HardStop) as stop:
        cells_of([[(tmp_path / "none.png", golden)]])
    assert stop.value.code == "missing_input"


# --- from tables to rows --------------------------------------------------------------------------


def tables(seed=0, n=40, lights=("A", "B")):
    pool, vectors = frames(seed, n, lights)
    targets = pool.iloc[[0, 5]].assign(filepath=["/t/a", "/t/b"]).reset_index(drop=True)
    return pool, vectors, targets, vectors[[0, 5]] + np.float32(0.01)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
@pytest.mark.parametrize("changed", [Rules(), Rules(min_distance=0.2, skip_known=True)])
def test_the_order_of_the_pool_changes_nothing(name, changed, monkeypatch):
    monkeypatch.setattr(
        "deft.mining.strategies.rows.cells_of",
        lambda parts, levels=None: np.array(
            [len(str(p[0][0])) + int(str(p[0][0])[-7]) for p in parts]
        ),
    )
    pool, vectors, targets, target_vectors = tables()
    taken = frozenset(neighbours.part_keys(pool.iloc[:6]))
    found = []
    for order in (np.arange(len(pool)), np.random.default_rng(3).permutation(len(pool))):
        mixed = pool.iloc[order].reset_index(drop=True)
        pairs = neighbours.knn_pairs(targets, normalise(target_vectors), mixed, vectors[order], k=9)
        table = ArrayVectors(vectors[order])
        pictures = [(p, p) for p in mixed["filepath"]]
        lap = Lap(taken, budget=7, seed=11)
        found.append(select(name, mixed, table, pairs, changed, lap, pictures))
    first, second = found
    pd.testing.assert_frame_equal(
        first.rows.reset_index(drop=True), second.rows.reset_index(drop=True)
    )
    assert first.kept_count + first.rejected_count == first.candidate_count


def test_nearest_under_rules_keeps_no_more_than_it_looked_at():
    """A part comes with all its lights, also with one in which it is nobody's neighbour."""
    pool, vectors, targets, target_vectors = tables()
    one_light = targets["light"] == targets["light"].iloc[0]
    targets, target_vectors = targets[one_light], target_vectors[one_light]
    pairs = neighbours.knn_pairs(targets, normalise(target_vectors), pool, vectors, k=2)
    lap, rules = Lap(frozenset(), budget=99, seed=0), Rules(skip_known=True)
    found = select("nearest", pool, ArrayVectors(vectors), pairs, rules, lap)
    assert len(found.rows) > found.candidate_count, "both lights of each part"
    assert found.kept_count == found.candidate_count and found.rejected_count == 0


def test_nearest_without_rules_is_the_contracts_choice():
    pool, vectors, targets, target_vectors = tables()
    pairs = neighbours.knn_pairs(targets, normalise(target_vectors), pool, vectors, k=9)
    lap = Lap(frozenset(), budget=1, seed=0)
    found = select("nearest", pool, ArrayVectors(vectors), pairs, Rules(min_similarity=0.1), lap)
    want = neighbours.select_nearest(pairs, pool, 0.1)
    pd.testing.assert_frame_equal(found.rows, want.rows)
    assert found == want.__class__(found.rows, want.candidate_count, want.kept_count)


def test_random_takes_that_many_new_parts_with_all_their_lights():
    pool, vectors, targets, target_vectors = tables()
    pairs = neighbours.knn_pairs(targets, normalise(target_vectors), pool, vectors, k=3)
    taken = frozenset(neighbours.part_keys(pool)[:1])
    rows = {}
    for seed in (3, 4):
        lap = Lap(taken, budget=6, seed=seed)
        rows[seed] = select("random", pool, ArrayVectors(vectors), pairs, Rules(), lap).rows
        keys = set(neighbours.part_keys(rows[seed]))
        assert len(keys) == 6 and len(rows[seed]) == 12 and not taken & keys
    assert set(rows[3]["filepath"]) != set(rows[4]["filepath"])


def test_left_out_sources_are_nobodys_neighbours():
    pool, vectors, targets, target_vectors = tables()
    gone = np.arange(len(pool)) % 2 == 0
    pairs = neighbours.knn_pairs(
        targets, normalise(target_vectors), pool, vectors, k=50, left_out=gone
    )
    assert set(pairs["source"]) == set(pool.loc[~gone & (pool["light"] == "A"), "filepath"])


def test_a_parts_vector_is_the_mean_over_its_lights():
    vectors = normalise(np.array([[1, 0], [0, 1], [1, 1], [0, 1]], np.float32))
    part = np.array([0, 1, 0, 1])
    found = part_vectors(ArrayVectors(vectors), part, np.array([1, 0]))
    np.testing.assert_allclose(found[0], [0, 1], atol=1e-6)
    np.testing.assert_allclose(found[1], normalise(vectors[[0]] + vectors[[2]])[0], atol=1e-6)


def test_an_exhausted_pool_comes_with_advice():
    assert "every part" in advice("nearest", 0, 5, 0)[0]
    assert "mining_skip_known" in advice("nearest", 0, 5, 9)[0]
    assert "3 of 5" in advice("random", 3, 5, 3)[0]
    assert advice("none", 0, 5, 9) == [] and advice("balanced", 5, 5, 9) == []
