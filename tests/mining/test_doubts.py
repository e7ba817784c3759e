"""Doubtful labels: planted ones come first."""

from __future__ import annotations

import numpy as np
import pytest

from deft.mining.doubts import difference_vectors, find_doubts, score_doubt


def planted(seed: int) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, scores, vectors of 300 parts in three groups, and which labels are wrong."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, 300)
    centres = np.linalg.qr(rng.normal(size=(16, 3)))[0].T
    vectors = centres[truth] + 0.15 * rng.normal(size=(300, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = np.where(truth > 0, 0.8, 0.2) + 0.1 * rng.normal(size=300)
    wrong = np.zeros(300, bool)
    wrong[rng.choice(300, 15, replace=False)] = True
    told = np.where(wrong, (truth + rng.integers(1, 3, 300)) % 3, truth)
    names = np.array(["PASS", "bridge", "missing"])
    return [str(n) for n in names[told]], scores, vectors.astype(np.float32), wrong


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_labels_are_the_most_doubtful(seed: int) -> None:
    labels, scores, vectors, wrong = planted(seed)
    ng = np.array([label != "PASS" for label in labels])
    found = find_doubts(labels, ng, scores, vectors)
    first = np.argsort(-found.doubt, kind="stable")[: wrong.sum()]
    assert wrong[first].sum() >= wrong.sum() - 1
    assert ((found.doubt >= 0) & (found.doubt <= 1)).all()
    assert all(found.suggested[i] not in ("", labels[i]) for i in np.flatnonzero(wrong))


def test_the_own_row_is_no_neighbour_even_among_copies() -> None:
    vectors = np.tile(np.eye(4, dtype=np.float32)[:1], (20, 1))
    labels = ["PASS"] * 19 + ["bridge"]
    ng = np.array([label != "PASS" for label in labels])
    found = find_doubts(labels, ng, np.zeros(20), vectors, neighbours=5)
    assert found.by_neighbours[-1] == pytest.approx(1.0)


def test_scores_of_any_scale_and_one_side_alone() -> None:
    scores, ng = np.array([0.1, 0.2, 0.9, 0.8]), np.array([False, False, True, True])
    assert score_doubt(scores, ng).tolist() == [0, 0, 0, 0]
    ng = np.array([True, False, True, False])
    assert score_doubt(scores, ng).tolist() == [1, 0.5, 0, 0.5]
    np.testing.assert_array_equal(score_doubt(1000 * scores - 7, ng), score_doubt(scores, ng))
    assert score_doubt(scores, np.ones(4, bool)).tolist() == [0, 0, 0, 0]


def test_differences_are_unit_or_zero() -> None:
    test, golden = np.eye(3, dtype=np.float32)[[0, 1]], np.eye(3, dtype=np.float32)[[0, 0]]
    found = difference_vectors(test, golden)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [0, 1], atol=1e-6)
