"""The search against brute force in float64; ties, duplicates, zero vectors, any order."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pool_frames import frames

from deft.embedding.embed import normalise
from deft.mining import neighbours, search


def brute_force(targets, sources, k):
    index, cosine = [], []
    for t in targets.astype(np.float64):
        scores = []
        for s in sources.astype(np.float64):
            length = np.linalg.norm(t) * np.linalg.norm(s)
            scores.append(round(float(t @ s) / length, 6) if length else 0.0)
        order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:k]
        index.append(order)
        cosine.append([scores[i] for i in order])
    return np.array(index), np.array(cosine)


@given(
    st.integers(0, 2**31),
    st.integers(1, 6),
    st.integers(1, 40),
    st.integers(1, 8),
    st.integers(1, 7),
)
@settings(max_examples=150, deadline=None)
def test_top_k_equals_brute_force_with_duplicates_and_zeros(seed, m, n, d, k):
    rng = np.random.default_rng(seed)
    # Few distinct values make many exact ties and duplicates.
    targets = normalise(rng.integers(-1, 2, (m, d)))
    sources = normalise(rng.integers(-1, 2, (n, d)))
    index, cosine = search.top_k(targets, sources, k)
    want_index, want_cosine = brute_force(targets, sources, min(k, n))
    np.testing.assert_allclose(cosine, want_cosine, atol=1.01e-6)
    np.testing.assert_array_equal(index, want_index)


def test_top_k_does_not_depend_on_the_block_size(monkeypatch):
    rng = np.random.default_rng(1)
    targets, sources = normalise(rng.normal(size=(5, 16))), normalise(rng.normal(size=(900, 16)))
    whole = search.top_k(targets, sources, 7)
    for memory_mb in (0, 0.001, 0.01):
        blocks = search.top_k(targets, sources, 7, memory_mb=memory_mb)
        np.testing.assert_array_equal(whole[0], blocks[0])
        np.testing.assert_array_equal(whole[1], blocks[1])


def test_no_source_gives_no_neighbour():
    index, cosine = search.top_k(np.ones((2, 3), np.float32), np.ones((0, 3), np.float32), 5)
    assert index.shape == cosine.shape == (2, 0)


def test_pairs_stay_within_a_light_and_do_not_depend_on_row_order():
    pool, vectors = frames()
    targets = pool.iloc[[3, 40]].reset_index(drop=True).assign(filepath=["/t/a", "/t/b"])
    pairs = neighbours.knn_pairs(targets, vectors[[3, 40]], pool, vectors, k=4)
    assert set(pairs.loc[pairs["target"] == "/t/a", "light"]) == {"A"}
    assert pairs["source"].str.contains("_A").sum() == 4
    order = np.random.default_rng(5).permutation(len(pool))
    shuffled = pool.iloc[order].reset_index(drop=True)
    again = neighbours.knn_pairs(targets, vectors[[3, 40]], shuffled, vectors[order], k=4)
    pd.testing.assert_frame_equal(pairs, again)


def test_counts_close_candidates_are_kept_or_rejected():
    pool, vectors = frames()
    targets = pool.iloc[:4].reset_index(drop=True)
    pairs = neighbours.knn_pairs(targets, vectors[:4], pool, vectors, k=5)
    chosen = neighbours.select_nearest(pairs, pool, 0.9)
    assert chosen.candidate_count == pairs["source"].nunique()
    assert chosen.kept_count + chosen.rejected_count == chosen.candidate_count
    assert set(targets["filepath"]) <= set(chosen.rows["filepath"])  # a row is nearest to itself
    assert len(neighbours.select_nearest(pairs, pool, -1.0).rows) == chosen.candidate_count


def test_the_table_by_label_counts_targets_candidates_yield_and_similarities():
    pool, vectors = frames(2, 40, ("L",))
    targets = pd.DataFrame(
        {"filepath": ["t0", "t1", "t2"], "label": ["bridge", "bridge", "gone"], "light": "L"}
    )
    pairs = neighbours.knn_pairs(targets, normalise(vectors[[0, 3, 7]] + 0.2), pool, vectors, k=8)
    cutoff = float(pairs["similarity"].median())
    chosen = neighbours.select_nearest(pairs, pool, cutoff)
    table = neighbours.label_table(pairs, chosen, cutoff).set_index("label")
    assert list(table.index) == sorted({"bridge", "gone", *chosen.rows["label"]})
    mine = pairs[pairs["target_label"] == "bridge"]
    row = table.loc["bridge"]
    assert (row["targets"], row["candidates"]) == (2, mine["source"].nunique())
    assert row["above_cutoff"] == (mine["similarity"] >= cutoff).sum()
    assert row["same_label_candidates"] == (mine["source_label"] == "bridge").sum()
    assert row["mined_for_label"] == len(set(mine["source"]) & set(chosen.rows["filepath"]))
    assert table["mined_with_label"].sum() == chosen.kept_count == len(chosen.rows)
    names = [f"similarity_{n}" for n in ("min", "q1", "median", "q3", "max")]
    want = np.quantile(mine["similarity"], [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(row[names].to_numpy(float), want)
    assert table.loc["PASS", "targets"] == 0 and table.loc["PASS", names].isna().all()


def test_warnings_name_uncovered_labels_and_a_fallen_yield():
    assert "'shift'" in neighbours.coverage_warnings({"shift", "PASS"}, {"PASS"})[0]
    assert neighbours.yield_warning(4, 10) and not neighbours.yield_warning(5, 10)
    assert not neighbours.yield_warning(0, None)
    # Neighbours that are in the training table already do not make up for missing new ones.
    (text,) = neighbours.yield_warning(31, 411)
    assert "from 411 to 31" in text


def pairs_of(best: list[float]) -> pd.DataFrame:
    """Candidates with these highest cosines; each is also a farther neighbour of another target."""
    near = pd.DataFrame({"source": [f"s{i}" for i in range(len(best))], "similarity": best})
    return pd.concat([near, near.assign(similarity=near["similarity"] - 0.05)], ignore_index=True)


@pytest.mark.parametrize(
    "cutoff,word", [(0.9, "rejects none of the 20"), (0.9999, "rejects all 20")]
)
def test_a_cutoff_that_makes_no_choice_is_said_with_what_would(cutoff, word):
    best = [0.99 + i * 0.0003 for i in range(20)]
    facts = neighbours.similarity_facts(pairs_of(best), cutoff)
    assert facts["quantiles"]["min"] == 0.99 and facts["quantiles"]["max"] == 0.9957
    (text,) = neighbours.cutoff_warning(facts, cutoff)
    assert word in text and "between 0.990000 and 0.995700, median 0.992850" in text
    assert "0.995400 would keep a tenth (2), one of 0.993000 would keep a half (10)" in text
    # What is advised does what it says.
    for one in facts["cutoffs"]:
        again = neighbours.similarity_facts(pairs_of(best), float(f"{one['min_similarity']:.6f}"))
        assert again["kept"] == one["keeps"] == round(one["share"] * 20)


@pytest.mark.parametrize("high", [0.9934206, 0.9934204, 0.99342, 0.9999996])
def test_the_cutoff_that_is_shown_keeps_what_it_is_shown_for(high):
    """Rounded up, the advised cutoff rejected the very candidate that it was taken from."""
    facts = neighbours.similarity_facts(pairs_of([high] + [0.5] * 9), 0.0)
    tenth = facts["cutoffs"][0]
    (text,) = neighbours.cutoff_warning(facts, 0.0)
    said = float(text.partition("A cutoff of ")[2].split()[0])
    assert said == tenth["min_similarity"] and high - said < 2e-6
    assert (
        neighbours.similarity_facts(pairs_of([high] + [0.5] * 9), said)["kept"]
        == tenth["keeps"]
        == 1
    )


def test_a_cutoff_that_chooses_is_not_warned_of_and_ties_are_counted():
    facts = neighbours.similarity_facts(pairs_of([0.5, 0.95, 0.95, 0.95]), 0.9)
    assert (facts["candidates"], facts["kept"]) == (4, 3)
    assert neighbours.cutoff_warning(facts, 0.9) == []
    assert [one["keeps"] for one in facts["cutoffs"]] == [3, 3]
    empty = neighbours.similarity_facts(pairs_of([]), 0.9)
    assert empty["candidates"] == 0 and neighbours.cutoff_warning(empty, 0.9) == []


@pytest.mark.parametrize("bad", [np.zeros((1, 4)), np.full((1, 4), 1e-30)])
def test_tiny_and_zero_vectors_do_not_break_normalising(bad):
    assert np.isfinite(normalise(bad)).all()


def test_pool_in_the_order_of_the_vectors() -> None:
    pool, _ = frames(1)
    same = neighbours.in_order_of(pool, pool["filepath"].copy())
    pd.testing.assert_frame_equal(same, pool)
    mixed = pool["filepath"].sample(frac=1, random_state=3)
    found = neighbours.in_order_of(pool, mixed)
    assert list(found["filepath"]) == list(mixed)
    assert list(found["label"]) == list(pool["label"][mixed.index])
    with pytest.raises(KeyError):
        neighbours.in_order_of(pool, pd.Series(["/p/none.png"]))


@given(st.lists(st.text(max_size=3), max_size=12))
@settings(max_examples=200, deadline=None)
def test_ranks_of_paths_are_those_of_python(paths: list[str]) -> None:
    ranks = neighbours.path_ranks(pd.Series(paths, dtype="str"))
    want = sorted(range(len(paths)), key=lambda i: paths[i])
    assert [int(r) for r in ranks[want]] == list(range(len(paths)))


def test_free_parts_are_those_of_a_set(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, _ = frames(2)  # two lights: every part twice
    keys = neighbours.part_keys(pool)
    taken = {keys[0], keys[7], ("elsewhere", "g", "PASS", "000")}
    for rows in (7, 65_536):
        monkeypatch.setattr(neighbours, "SLICE_ROWS", rows)
        assert neighbours.free_parts(pool, taken) == len(set(keys) - taken) == 28
        assert list(neighbours.are_taken(pool, taken)) == [key in taken for key in keys]
    assert neighbours.free_parts(pool, set()) == len(set(keys))
    assert neighbours.free_parts(pool.iloc[:0], taken) == 0
