"""The scores in the page: all of them, or every step near the target, within a few megabytes."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

from deft.report import packed
from deft.report.packed import pack


def values(side: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    found = np.frombuffer(base64.b64decode(side["values"]), "<f4")
    if side["counts"] is None:
        return found, np.ones(len(found), int)
    return found, np.frombuffer(base64.b64decode(side["counts"]), "<u4").astype(int)


def scores_of(parts: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.random(parts).astype(np.float32), rng.random(parts) < 0.05


@pytest.mark.parametrize("parts", [10**5, 10**6])
def test_the_page_stays_small_and_the_counts_near_the_target_exact(parts: int) -> None:
    scores, ng = scores_of(parts)
    found = pack(scores, ng, 0.6)
    assert len(json.dumps(found)) < 2_000_000
    low, high = found["exact"] or (scores.min(), scores.max())
    assert (found["exact"] is None) == (parts == 10**5)
    assert low <= 0.55 and high >= 0.65
    inside = np.unique(scores[(scores >= low) & (scores <= high)])
    for side, mask in (("good", ~ng), ("ng", ng)):
        steps, counts = values(found[side])
        assert counts.sum() == mask.sum() and (np.diff(steps) > 0).all()
        upto = np.concatenate([[0], np.cumsum(counts)])
        at = upto[np.searchsorted(steps, inside, side="right")]
        assert (at == np.searchsorted(np.sort(scores[mask]), inside, side="right")).all()


def test_groups_stand_at_their_highest_score(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "EXACT_STEPS", 100)
    monkeypatch.setattr(packed, "GROUPS", 7)
    scores, ng = scores_of(5000)
    found = pack(scores, ng, 0.5)
    for side, mask in (("good", ~ng), ("ng", ng)):
        steps, counts = values(found[side])
        true = np.searchsorted(np.sort(scores[mask]), steps, side="right")
        assert (np.cumsum(counts) == true).all() and len(steps) <= 100 + 14


def test_equal_scores_are_counted() -> None:
    found = pack(np.float32([0.5, 0.5, 0.1, 0.9]), np.array([False, False, False, True]), 0.6)
    steps, counts = values(found["good"])
    assert steps.tolist() == [np.float32(0.1), 0.5] and counts.tolist() == [1, 2]
    assert found["ng"]["counts"] is None and found["exact"] is None
