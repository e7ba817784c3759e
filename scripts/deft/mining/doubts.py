"""How doubtful a label is: what the network's score and the nearest parts say against it.

A part is described by how its test picture differs from its golden one (the difference of their
unit vectors), so that parts of another kind with the same defect are near.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deft.mining.search import top_k

NEIGHBOURS = 10


@dataclass(frozen=True)
class Doubts:
    """Of n parts: ``doubt`` (n,) 0 to 1, high = the label is probably wrong, and what it is of.

    ``by_score``: share of the parts of the other side (good, defective) whose score lies on this
    part's far side. ``by_neighbours``: share of the nearest parts that have another label.
    ``suggested``: the label that most of the nearest parts have, if another than the own, else
    ``""``.
    """

    doubt: np.ndarray
    by_score: np.ndarray
    by_neighbours: np.ndarray
    suggested: list[str]


def difference_vectors(test: np.ndarray, golden: np.ndarray) -> np.ndarray:
    """Return unit vectors (n, d) float32 of how test differs from golden; zero where it does not.

    ``test``, ``golden``: (n, d) unit vectors.
    """
    found = test.astype(np.float64) - golden.astype(np.float64)
    length = np.linalg.norm(found, axis=1, keepdims=True)
    found /= np.where(length > 0, length, 1)
    return found.astype(np.float32)


def score_doubt(scores: np.ndarray, ng: np.ndarray) -> np.ndarray:
    """Return (n,) 0 to 1: how far each score reaches into the other side's.

    For a good part the share of defects that score no higher, for a defect that of good parts that
    score no lower; whatever the scale of the scores.
    """
    good, bad = np.sort(scores[~ng]), np.sort(scores[ng])
    passed = np.searchsorted(bad, scores, side="right") / max(1, bad.size)
    rejected = 1 - np.searchsorted(good, scores, side="left") / max(1, good.size)
    against = rejected if good.size else np.zeros(len(scores))
    other: np.ndarray = np.where(ng, against, passed)
    return other


def find_doubts(
    labels: list[str],
    ng: np.ndarray,
    scores: np.ndarray,
    vectors: np.ndarray,
    *,
    neighbours: int = NEIGHBOURS,
    memory_mb: float = 512,
    rank: np.ndarray | None = None,
) -> Doubts:
    """Return the doubts about n labels (in their clean form).

    Parameters
    ----------
    ng: (n,) bool, defective by the label. scores: (n,) float, high = defective.
    vectors: (n, d) float32, unit or zero, see :func:`difference_vectors`.
    rank: (n,) int64, of equally near parts the lower comes first.
    """
    count = len(labels)
    found, _ = top_k(vectors, vectors, min(neighbours + 1, count), memory_mb=memory_mb, rank=rank)
    classes, own = np.unique(np.asarray(labels, dtype=object).astype(str), return_inverse=True)
    votes = np.zeros((count, len(classes)))
    for row, near in enumerate(found):
        others = [i for i in near.tolist() if i != row][:neighbours]
        np.add.at(votes[row], own[others], 1 / max(1, len(others)))
    by_neighbours = 1 - votes[np.arange(count), own] if count > 1 else np.zeros(count)
    by_score = score_doubt(scores, ng)
    best = votes.argmax(axis=1)
    suggested = [
        str(classes[b]) if b != o else "" for b, o in zip(best.tolist(), own.tolist(), strict=True)
    ]
    return Doubts((by_score + by_neighbours) / 2, by_score, by_neighbours, suggested)
