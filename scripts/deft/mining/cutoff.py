"""The cutoff of similarity: one that fits the encoder, and what a lap says when it lets none pass.

A cosine means something for one encoder only. ``min_similarity: auto`` therefore asks the training
rows, whose types are known: among all pairs of their pictures (of one light), the cutoff is the
cosine that best parts pairs of one type from pairs of two, which is where the share of the former
at or above it, less that of the latter, is greatest (Youden's index; every type weighs alike in the
former; of equal ones the lowest cosine). Where the greatest is below :data:`LEAST_INDEX`, the
encoder does not tell types apart, and nothing is rejected.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from deft.mining.neighbours import DECIMALS
from deft.mining.strategies.problem import Key, parts_of

AUTO = "auto"
LEAST_INDEX = 0.1
ROWS_MOST = 1500  # pictures of a light that are compared, spread over the table
NO_CUTOFF = -1.0
BINS = 20_001  # of cosines from -1 to 1: 0.0001 apart


def auto_cutoff(
    vectors: np.ndarray, labels: Sequence[str], lights: Sequence[str]
) -> dict[str, Any]:
    """Return ``min_similarity`` by the rule above, with what it was found from.

    Parameters
    ----------
    vectors: (n, d) float32 unit rows of training pictures. labels: their types, clean. lights.

    Returns
    -------
    ``min_similarity``, ``index`` (0 to 1; None without pairs of both kinds), ``pictures``,
    ``same_type`` and ``other_type`` (``pairs``, ``median`` cosine or None).
    """
    types = sorted(set(labels))
    same = np.zeros((len(types), BINS))
    other = np.zeros(BINS)
    name, where = np.asarray(labels, dtype=object), np.asarray(lights, dtype=object)
    for light in sorted(set(lights)):
        rows = np.flatnonzero(where == light)
        kinds, vector = name[rows], vectors[rows].astype(np.float64)
        for start in range(0, len(rows), 256):
            cosine = vector[start : start + 256] @ vector.T
            # As bins; each pair once, and no row with itself.
            at = np.clip(np.round((cosine + 1) / 2 * (BINS - 1)).astype(int), 0, BINS - 1)
            later = np.arange(len(rows))[None, :] > (start + np.arange(len(cosine)))[:, None]
            equal = kinds[start : start + 256, None] == kinds[None, :]
            other += np.bincount(at[later & ~equal], minlength=BINS)
            for i, kind in enumerate(types):
                mine = later & equal & (kinds[None, :] == kind)
                same[i] += np.bincount(at[mine], minlength=BINS)
    known = same.sum(axis=1) > 0
    facts: dict[str, Any] = {
        "min_similarity": NO_CUTOFF,
        "index": None,
        "pictures": len(labels),
        "same_type": _told(same.sum(axis=0)),
        "other_type": _told(other),
    }
    if not known.any() or not other.sum():
        return facts
    reached = _at_least(same[known]).mean(axis=0) - _at_least(other[None, :])[0]
    best = int(np.argmax(np.round(reached, 9)))
    facts["index"] = round(float(reached[best]), DECIMALS)
    if reached[best] >= LEAST_INDEX:
        facts["min_similarity"] = round(_cosine(best), DECIMALS)
    return facts


def _at_least(counts: np.ndarray) -> np.ndarray:
    """Return the share of each row's pairs (m, BINS) in a bin or above it."""
    share: np.ndarray = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1] / counts.sum(
        axis=1, keepdims=True
    )
    return share


def _cosine(place: int) -> float:
    return 2 * place / (BINS - 1) - 1


def _told(counts: np.ndarray) -> dict[str, Any]:
    total = counts.sum()
    middle = int(np.searchsorted(np.cumsum(counts), total / 2)) if total else None
    median = None if middle is None else round(_cosine(middle), DECIMALS)
    return {"pairs": int(total), "median": median}


def auto_text(facts: dict[str, Any]) -> str:
    """Return in a sentence what the rule gave."""
    same, other = facts["same_type"], facts["other_type"]
    if facts["index"] is None:
        return (
            "min_similarity auto: the training rows have no pairs of one type and of two to compare"
            "; nothing is rejected"
        )
    found = (
        f"pairs of one type have a median cosine of {same['median']:.4f} ({same['pairs']}), pairs "
        f"of two of {other['median']:.4f} ({other['pairs']}); index {facts['index']:.3f}"
    )
    if facts["min_similarity"] == NO_CUTOFF:
        told = f"below {LEAST_INDEX:g}: this encoder does not tell the types apart"
        return f"min_similarity auto: {found}, {told}; nothing is rejected"
    return f"min_similarity auto: {facts['min_similarity']:.4f}; {found}"


def rejected_facts(
    pairs: pd.DataFrame, pool: pd.DataFrame, taken: frozenset[Key], cutoff: float
) -> dict[str, Any]:
    """Return what the cutoff keeps out of training: new candidate parts below it.

    ``candidates``: parts among the neighbours that the training table does not have; ``rejected``:
    those whose highest cosine lies below ``min_similarity``; ``nearest``: the highest among them,
    None without any.
    """
    keys, part = parts_of(pool)
    best = pairs.groupby("source")["similarity"].max().reindex(pool["filepath"]).to_numpy()
    highest = np.full(len(keys), -np.inf)
    np.fmax.at(highest, part, np.nan_to_num(best, nan=-np.inf))
    new = np.isfinite(highest) & np.array([key not in taken for key in keys], bool)
    below = highest[new & (highest < cutoff)]
    return {
        "candidates": int(new.sum()),
        "rejected": len(below),
        "nearest": round(float(below.max()), DECIMALS) if len(below) else None,
        "min_similarity": cutoff,
    }


def rejected_text(facts: dict[str, Any]) -> str:
    """Return what to do where the cutoff alone kept a lap from adding anything."""
    return (
        f"min_similarity {facts['min_similarity']:g} rejects all {facts['rejected']} neighbours "
        f"that are new to training; the nearest has {facts['nearest']:.6f}: lower min_similarity "
        "to that or below, or set min_similarity: auto"
    )
