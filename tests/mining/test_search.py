"""The search against float64 brute force, and that nothing but the vectors decides its result."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deft.embedding.embed import normalise, open_embeddings, write_embeddings
from deft.embedding.vectors import ArrayVectors, ParquetVectors
from deft.mining import search
from deft.mining.approximate import Search, recall
from deft.mining.cosine import exact_cosine
from deft.mining.neighbours import knn_pairs

LIGHTS = ("A", "B")


class Encoder:
    name, dim, digest = "fake", 24, "abc"


def brute_force(targets, sources, k, rank, target_group, source_group):
    """The specification, in float64: (row, cosine) lists of each target."""
    answer = []
    for target, group in zip(targets.astype(np.float64), target_group, strict=True):
        scored = []
        for row in np.flatnonzero(source_group == group):
            source = sources[row].astype(np.float64)
            length = np.linalg.norm(target) * np.linalg.norm(source)
            cosine = round(float((target * source).sum()) / length, 6) if length else 0.0
            scored.append((-cosine, rank[row], row))
        answer.append([(row, -minus) for minus, _, row in sorted(scored)[:k]])
    return answer


def found(index, cosine):
    return [
        [(i, c) for i, c in zip(row, values, strict=True) if i >= 0]
        for row, values in zip(index, cosine, strict=True)
    ]


@given(
    seed=st.integers(0, 2**31),
    m=st.integers(1, 6),
    n=st.integers(1, 120),
    d=st.integers(1, 9),
    k=st.integers(1, 9),
    groups=st.integers(1, 3),
    coarse=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_equals_brute_force_with_duplicates_zeros_and_groups(seed, m, n, d, k, groups, coarse):
    rng = np.random.default_rng(seed)
    # Few distinct values make many exact ties, duplicates and zero rows.
    draw = (lambda s: rng.integers(-1, 2, s)) if coarse else (lambda s: rng.normal(size=s))
    targets, sources = normalise(draw((m, d))), normalise(draw((n, d)))
    sources[rng.random(n) < 0.1] = 0
    given_ = {
        "rank": rng.permutation(n),
        "target_group": rng.integers(0, groups, m),
        "source_group": rng.integers(0, groups, n),
    }
    answer = search.top_k(targets, sources, k, memory_mb=0, **given_)
    want = brute_force(targets, sources, k, *given_.values())
    for mine, theirs in zip(found(*answer), want, strict=True):
        np.testing.assert_allclose([c for _, c in mine], [c for _, c in theirs], atol=1.01e-6)
        # Cosines that straddle a rounding border may be summed in another order by the reference.
        if [c for _, c in mine] == [c for _, c in theirs]:
            assert [i for i, _ in mine] == [i for i, _ in theirs]
        else:
            assert len(mine) == len(theirs)


def crowded(seed=0, n=4000, d=24):
    """Targets, sources with copies, near copies and zero rows, and ranks."""
    rng = np.random.default_rng(seed)
    sources = normalise(rng.normal(size=(n, d)))
    targets = normalise(sources[:9] + rng.normal(scale=0.01, size=(9, d)))
    sources[100:900] = sources[0]
    near = sources[1] + rng.normal(scale=1e-4, size=(900, d))
    sources[1000:1900] = normalise(near)
    sources[2000:2020] = 0
    order = rng.permutation(n)
    return targets, sources[order], rng.permutation(n)


def exhaustive(targets, sources, k, rank):
    """Every cosine exactly, by the function that the search itself ends with."""
    rows, values = [], []
    for target in targets:
        cosine = exact_cosine(target, sources)
        order = np.lexsort([rank, -cosine])[:k]
        rows.append(order)
        values.append(cosine[order])
    return np.array(rows), np.array(values)


@pytest.mark.parametrize("k", [1, 7, 300])
def test_crowds_of_copies_and_near_copies_are_decided_exactly(k):
    targets, sources, rank = crowded()
    index, cosine = search.top_k(targets, sources, k, memory_mb=1, rank=rank)
    want_index, want_cosine = exhaustive(targets, sources, k, rank)
    assert np.array_equal(index, want_index) and np.array_equal(cosine, want_cosine)


def test_a_pool_of_one_picture_gives_the_lowest_ranks():
    source = normalise(np.ones((1, 16)))
    rank = np.random.default_rng(2).permutation(20_000)
    index, cosine = search.top_k(source, np.repeat(source, 20_000, 0), 5, rank=rank)
    assert rank[index[0]].tolist() == [0, 1, 2, 3, 4] and (cosine == 1).all()


@pytest.mark.parametrize("blocks", [1, 4, 16])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_blocks_and_threads_do_not_matter(blocks, count, threads, monkeypatch):
    targets, sources, rank = crowded()
    want = exhaustive(targets, sources, 7, rank)
    monkeypatch.setattr(search, "BLOCK_ROWS", -(-len(sources) // blocks))
    threads(count)
    answer = search.top_k(targets, sources, 7, rank=rank)
    assert np.array_equal(answer[0], want[0]) and np.array_equal(answer[1], want[1])


def test_tiles_of_targets_do_not_matter(monkeypatch):
    targets, sources, rank = crowded()
    want = search.top_k(targets, sources, 7, rank=rank)
    monkeypatch.setattr(search, "TILE_ROWS", 2)
    monkeypatch.setattr(search, "PAIRS", 1000)
    monkeypatch.setattr(search, "PAIR_BYTES", 1000)
    answer = search.top_k(targets, sources, 7, rank=rank)
    assert np.array_equal(answer[0], want[0]) and np.array_equal(answer[1], want[1])


def test_lower_product_precision_cannot_leak_in():
    targets, sources, rank = crowded()
    want = search.top_k(targets, sources, 7, rank=rank)
    torch.set_float32_matmul_precision("medium")
    try:
        answer = search.top_k(targets, sources, 7, rank=rank)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert np.array_equal(answer[0], want[0])


def frames(seed=0):
    rng = np.random.default_rng(seed)
    targets, sources, _ = crowded(seed)
    pool = pd.DataFrame(
        {
            "filepath": [f"/p/{i:05d}.png" for i in range(len(sources))],
            "label": rng.choice(["PASS", "bridge"], len(sources)),
            "light": rng.choice(LIGHTS, len(sources)),
            "provenance": "real",
        }
    )
    weak = pd.DataFrame(
        {
            "filepath": [f"/t/{i}.png" for i in range(len(targets))],
            "label": "PASS",
            "light": rng.choice(LIGHTS, len(targets)),
        }
    )
    return weak, targets, pool, sources


@pytest.mark.parametrize("shards", [1, 4, 16])
def test_pairs_are_the_same_bytes_over_shards_and_shuffled_pools(tmp_path, shards):
    weak, targets, pool, sources = frames()
    want = knn_pairs(weak, targets, pool, sources, k=6)
    order = np.random.default_rng(shards).permutation(len(pool))
    pool, sources = pool.iloc[order].reset_index(drop=True), sources[order]
    paths = []
    for i, rows in enumerate(np.array_split(np.arange(len(pool)), shards)):
        path = tmp_path / f"{i}.parquet"
        paths.append(write_embeddings(path, pool.iloc[rows], sources[rows], Encoder()))
    table = ParquetVectors(paths)
    assert (table.rows, table.dim) == sources.shape
    pairs = knn_pairs(weak, targets, pool, table, k=6, search=Search(memory_mb=1))
    want.to_parquet(tmp_path / "want.parquet")
    pairs.to_parquet(tmp_path / "pairs.parquet")
    assert (tmp_path / "want.parquet").read_bytes() == (tmp_path / "pairs.parquet").read_bytes()


def test_streamed_and_mapped_vectors_are_those_in_memory(tmp_path):
    _, _, pool, sources = frames()
    path = write_embeddings(tmp_path / "e.parquet", pool, sources, Encoder())
    table, vectors, meta = open_embeddings(path)
    pd.testing.assert_frame_equal(table, pool)
    assert meta["digest"] == Encoder.digest
    assert np.array_equal(np.concatenate(list(vectors.blocks(999))), sources)
    np.save(tmp_path / "v.npy", sources)
    mapped = ArrayVectors(np.load(tmp_path / "v.npy", mmap_mode="r"))
    assert np.array_equal(np.concatenate(list(mapped.blocks(999))), sources)
    assert max(len(block) for block in vectors.blocks(999)) <= 999


def test_a_reader_that_is_left_early_ends(tmp_path):
    _, _, pool, sources = frames()
    path = write_embeddings(tmp_path / "e.parquet", pool, sources, Encoder())
    stream = ParquetVectors(path).blocks(100)
    assert len(next(stream)) == 100
    stream.close()


def test_a_light_with_fewer_sources_than_k_gives_those_it_has():
    weak, targets, pool, sources = frames()
    keep = np.concatenate([np.flatnonzero(pool["light"] == "A"), [
        np.flatnonzero(pool["light"] == "B")[0]]])  # fmt: skip
    pairs = knn_pairs(weak, targets, pool.iloc[keep], sources[keep], k=3)
    counts = pairs.groupby("target").size()
    for path, light in zip(weak["filepath"], weak["light"], strict=True):
        assert counts[path] == (3 if light == "A" else 1)


@pytest.fixture
def threads():
    """Set torch's threads for a test: call it with their number."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("value", [2.0, np.nan, np.inf])
@pytest.mark.parametrize("count", [1, 2])
def test_rows_that_are_not_normalised_are_refused_by_number(value, count, threads):
    targets, sources, _ = crowded()
    sources[1234] *= value
    sources[3000] *= value
    threads(count)
    with pytest.raises(ValueError, match="source row 1234 "):
        search.top_k(targets, sources, 3, memory_mb=1)
    assert torch.get_num_threads() == count


def test_no_weak_sample_and_no_neighbour():
    assert search.top_k(np.ones((0, 3), np.float32), np.eye(3, dtype=np.float32), 2)[0].shape == (
        0, 2)  # fmt: skip
    empty = search.top_k(np.eye(3, dtype=np.float32), np.ones((0, 3), np.float32), 2)
    assert empty[0].shape == empty[1].shape == (3, 0)


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_an_approximate_search_reports_the_recall_it_has(kind):
    rng = np.random.default_rng(0)
    weak, _, pool, _ = frames()
    sources = normalise(rng.normal(size=(len(pool), 24)))
    targets = normalise(rng.normal(size=(len(weak), 24)))
    exact = knn_pairs(weak, targets, pool, sources, k=10)
    chosen = Search(kind)
    pairs = knn_pairs(weak, targets, pool, sources, k=10, search=chosen)
    both = pairs.merge(exact, on=["target", "source"], suffixes=("", "_exact"))
    assert (both["similarity"] == both["similarity_exact"]).all()
    assert chosen.facts["recall_at_k"] == pytest.approx(len(both) / len(exact), abs=1e-12)
    assert 0.2 < chosen.facts["recall_at_k"] <= 1 and chosen.facts["recall_targets"] == len(weak)
    assert "recall@k" in chosen.sentence()


def test_recall_counts_places_not_names():
    exact = np.array([[0.9, 0.8], [0.7, -np.inf], [-np.inf, -np.inf]])
    assert recall(exact, exact) == 1
    assert recall(np.array([[0.9, 0.1], [0.7, -np.inf], [-np.inf] * 2]), exact) == 2 / 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_bytes():
    targets, sources, rank = crowded()
    want = search.top_k(targets, sources, 7, rank=rank)
    answer = search.top_k(targets, sources, 7, rank=rank, device="cuda")
    assert np.array_equal(answer[0], want[0]) and np.array_equal(answer[1], want[1])
