"""A cutoff that fits the encoder, and what is said of one that lets nothing pass."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from deft.mining.cutoff import (
    NO_CUTOFF,
    auto_cutoff,
    auto_text,
    rejected_facts,
    rejected_text,
)


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def clusters(spread: float, counts: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Unit vectors around a direction for each type, all in one cone as encoders have it."""
    rng = np.random.default_rng(seed)
    rows, labels = [], []
    for kind, count in enumerate(counts):
        middle = np.zeros(16)
        middle[kind], middle[-1] = 1.0, 2.0
        rows.append(middle + spread * rng.normal(size=(count, 16)))
        labels += [f"type{kind}"] * count
    return unit(np.vstack(rows)), labels


def index_at(same: dict[str, list[float]], other: list[float], cutoff: float) -> float:
    index = np.mean([np.mean(np.array(v) >= cutoff - 1e-9) for v in same.values()])
    return float(index - np.mean(np.array(other) >= cutoff - 1e-9))


def brute_force(
    vectors: np.ndarray, labels: list[str], lights: list[str], at: float
) -> tuple[float, float, float]:
    """The rule word for word, pair by pair: greatest index, its cosine, the index at another."""
    same: dict[str, list[float]] = {}
    other: list[float] = []
    for i in range(len(labels)):
        for j in range(i + 1, len(labels)):
            if lights[i] == lights[j]:
                cosine = float(vectors[i].astype(float) @ vectors[j].astype(float))
                cosine = round((cosine + 1) / 2 * 20_000) / 10_000 - 1
                (same.setdefault(labels[i], []) if labels[i] == labels[j] else other).append(cosine)
    best = (-np.inf, 0.0)
    for c in sorted({*other, *(x for v in same.values() for x in v)}):
        index = index_at(same, other, c)
        if index > best[0] + 1e-9:
            best = (index, c)
    return *best, index_at(same, other, at)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spread", [0.1, 0.3])
def test_the_cutoff_is_the_rule_word_for_word(spread: float, seed: int) -> None:
    vectors, labels = clusters(spread, (9, 14, 3), seed)
    lights = ["A" if i % 3 else "B" for i in range(len(labels))]
    found = auto_cutoff(vectors, labels, lights)
    cutoff = found["min_similarity"]
    index, cosine, here = brute_force(vectors, labels, lights, cutoff)
    assert found["index"] == pytest.approx(index, abs=1e-6) and index > 0.1
    # Between two pairs every cutoff parts alike; the lowest such bin is taken.
    assert cutoff <= cosine + 1e-9 and here == pytest.approx(index)
    assert f"{cutoff:.4f}" in auto_text(found)
    assert found["same_type"]["pairs"] + found["other_type"]["pairs"] == sum(
        lights[i] == lights[j] for i in range(26) for j in range(i)
    )


def test_two_encoders_get_two_cutoffs_that_keep_the_same_pairs() -> None:
    """A cosine means something for one encoder only: the same parts in a narrower cone."""
    vectors, labels = clusters(0.1, (20, 20))
    narrow = vectors.astype(np.float64)
    narrow[:, -1] += 20
    narrow = unit(narrow)
    cutoffs = [auto_cutoff(v, labels, ["L"] * 40)["min_similarity"] for v in (vectors, narrow)]
    assert cutoffs[0] < 0.95 < 0.99 < cutoffs[1]
    same = np.equal.outer(labels, labels)
    for table, cutoff in zip((vectors, narrow), cutoffs, strict=True):
        kept = table @ table.T >= cutoff
        assert kept[same].mean() > 0.9 and kept[~same].mean() < 0.1


def test_an_encoder_that_tells_nothing_apart_rejects_nothing() -> None:
    vectors, _ = clusters(0.3, (200,))
    found = auto_cutoff(vectors, ["a", "b"] * 100, ["L"] * 200)
    assert found["min_similarity"] == NO_CUTOFF
    assert "does not tell the types apart" in auto_text(found)


@pytest.mark.parametrize("labels", [["a"] * 4, ["a", "b", "c", "d"], []])
def test_without_pairs_of_both_kinds_nothing_is_rejected(labels: list[str]) -> None:
    vectors, _ = clusters(0.1, (4,))
    found = auto_cutoff(vectors[: len(labels)], labels, ["L"] * len(labels))
    assert found["min_similarity"] == NO_CUTOFF and found["index"] is None
    assert "nothing is rejected" in auto_text(found)


def test_what_the_cutoff_rejects_counts_new_parts_once() -> None:
    pool = pd.DataFrame(
        {
            "filepath": [f"{n}_{light}" for n in "abcd" for light in "xy"],
            "input_path": "p",
            "golden_path": "g",
            "label": "PASS",
            "object_name": [n for n in "abcd" for _ in "xy"],
            "light": list("xy") * 4,
        }
    )
    pairs = pd.DataFrame(
        {"source": ["a_x", "a_y", "b_x", "c_y"], "similarity": [0.3, 0.7, 0.95, 0.6]}
    )
    taken = frozenset({("p", "g", "PASS", "b")})  # known; the others are new, d nobody's neighbour
    found = rejected_facts(pairs, pool, taken, 0.9)
    assert found == {"candidates": 2, "rejected": 2, "nearest": 0.7, "min_similarity": 0.9}
    assert "rejects all 2 neighbours" in rejected_text(found) and "0.700000" in rejected_text(found)
    assert rejected_facts(pairs, pool, taken, 0.65)["rejected"] == 1
    none = rejected_facts(pairs.iloc[:0], pool, taken, 0.9)
    assert (none["candidates"], none["rejected"], none["nearest"]) == (0, 0, None)
