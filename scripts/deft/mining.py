"""Exact cosine k-NN and the selection of pool rows for the weak samples.

Similarities are found by blocked float32 products and then computed again in float64 for the
few candidates, rounded to ``SIMILARITY_DECIMALS``; ties go to the smaller ``filepath``. So the
result does not depend on block size, thread count or the order of the pool.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

SIMILARITY_DECIMALS = 6
# float32 products of unit vectors of up to some thousand dimensions err by less than this.
FLOAT32_MARGIN = 1e-5


def top_k(
    targets: np.ndarray, sources: np.ndarray, k: int, *, memory_mb: int = 512
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``k`` most similar sources of every target.

    Parameters
    ----------
    targets: (m, d) float32, unit rows. sources: (n, d) float32, unit rows, in tie order.
    k: neighbours wanted; fewer come back when n < k.
    memory_mb: bound of one block of similarities.

    Returns
    -------
    (m, min(k, n)) int64 indices and float64 cosines rounded to 6 decimals, best first; equal
    cosines by the lower index.
    """
    k = min(k, len(sources))
    if k == 0 or len(targets) == 0:
        return np.zeros((len(targets), k), np.int64), np.zeros((len(targets), k))
    block = max(k, int(memory_mb * 2**20 / (4 * max(len(targets), 1))))
    kept: list[np.ndarray] = [np.empty(0, np.int64)] * len(targets)
    rough: list[np.ndarray] = [np.empty(0, np.float32)] * len(targets)
    for start in range(0, len(sources), block):
        similarity = targets @ sources[start : start + block].T
        for i, row in enumerate(similarity):
            scores = np.concatenate([rough[i], row])
            kth = np.partition(scores, -k)[-k] if scores.size > k else -np.inf
            near = np.flatnonzero(scores >= kth - 2 * FLOAT32_MARGIN)
            ids = np.concatenate([kept[i], np.arange(start, start + row.size)])
            kept[i], rough[i] = ids[near], scores[near]
    index = np.empty((len(targets), k), np.int64)
    cosine = np.empty((len(targets), k))
    for i, candidates in enumerate(kept):
        candidates = np.sort(candidates)
        exact = exact_cosine(targets[i], sources[candidates])
        order = np.lexsort([candidates, -exact])[:k]
        index[i], cosine[i] = candidates[order], exact[order]
    return index, cosine


def exact_cosine(target: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Return float64 cosines (n,) of one target (d,) and rows (n, d), rounded."""
    a = target.astype(np.float64)
    b = sources.astype(np.float64)
    length = np.linalg.norm(a) * np.sqrt((b * b).sum(axis=1))
    dot = (b * a).sum(axis=1)
    cosine = np.divide(dot, length, out=np.zeros_like(dot), where=length > 0)
    return np.round(cosine, SIMILARITY_DECIMALS)


def knn_pairs(
    targets: pd.DataFrame,
    target_vectors: np.ndarray,
    sources: pd.DataFrame,
    source_vectors: np.ndarray,
    *,
    k: int,
    memory_mb: int = 512,
) -> pd.DataFrame:
    """Return the ``k`` nearest sources of each target, within the same light.

    Both frames have ``filepath, label, light``; sources also ``provenance``. Columns of the
    result: target, source, rank (1 = nearest), similarity, target_label, source_label, light,
    provenance; ordered by target, then rank.
    """
    frames = []
    for light in sorted(targets["light"].unique()):
        t = targets[targets["light"] == light].sort_values("filepath", kind="stable")
        s = sources[sources["light"] == light].sort_values("filepath", kind="stable")
        t_vec = target_vectors[targets.index.get_indexer(t.index)]
        s_vec = source_vectors[sources.index.get_indexer(s.index)]
        index, cosine = top_k(t_vec, s_vec, k, memory_mb=memory_mb)
        width = index.shape[1]
        flat = index.reshape(-1)
        frames.append(
            pd.DataFrame(
                {
                    "target": np.repeat(t["filepath"].to_numpy(), width),
                    "source": s["filepath"].to_numpy()[flat],
                    "rank": np.tile(np.arange(1, width + 1), len(t)),
                    "similarity": cosine.reshape(-1),
                    "target_label": np.repeat(t["label"].to_numpy(), width),
                    "source_label": s["label"].to_numpy()[flat],
                    "light": light,
                    "provenance": s["provenance"].to_numpy()[flat],
                }
            )
        )
    pairs = pd.concat(frames, ignore_index=True)
    return pairs.sort_values(["target", "rank"], kind="stable", ignore_index=True)


@dataclass(frozen=True)
class Selection:
    """What a strategy chose: source rows (one a light), and the counts behind it."""

    rows: pd.DataFrame
    candidate_count: int
    kept_count: int
    warnings: list[str] = field(default_factory=list)

    @property
    def rejected_count(self) -> int:
        """Distinct candidates below the cutoff."""
        return self.candidate_count - self.kept_count


def select_nearest(pairs: pd.DataFrame, sources: pd.DataFrame, min_similarity: float) -> Selection:
    """Return the union over targets of the neighbours at or above ``min_similarity``."""
    kept = set(pairs.loc[pairs["similarity"] >= min_similarity, "source"])
    rows = sources[sources["filepath"].isin(kept)].sort_values("filepath", kind="stable")
    return Selection(rows, pairs["source"].nunique(), len(kept))


def select_random(
    sources: pd.DataFrame, parts: int, taken: set[tuple[str, ...]], seed: int
) -> Selection:
    """Return as many parts at random as ``parts``, from those that are not in ``taken`` yet.

    The control arm: same number of new parts as the strategy would add, chosen blindly.
    """
    order = sources.sort_values("filepath", kind="stable")
    keys = part_keys(order)
    free = sorted({key for key in keys if key not in taken})
    rng = np.random.default_rng(seed)
    chosen = {free[i] for i in rng.permutation(len(free))[:parts]}
    rows = order[np.array([key in chosen for key in keys], dtype=bool)]
    return Selection(rows, len(rows), len(rows))


def part_keys(rows: pd.DataFrame) -> list[tuple[str, ...]]:
    """Return (input_path, golden_path, label, object_name) of each row: one part, all lights."""
    columns = [rows[c] for c in ("input_path", "golden_path", "label", "object_name")]
    return list(zip(*columns, strict=True))


def label_table(pairs: pd.DataFrame, selection: Selection, min_similarity: float) -> pd.DataFrame:
    """Return per label: weak samples, candidates, kept, similarity quartiles, same-label share."""
    rows = []
    kept = set(selection.rows["filepath"])
    for label in sorted(set(pairs["target_label"]) | set(selection.rows["label"])):
        mine = pairs[pairs["target_label"] == label]
        same = mine["source_label"] == label
        similarity = mine["similarity"]
        rows.append(
            {
                "label": label,
                "targets": mine["target"].nunique(),
                "candidates": mine["source"].nunique(),
                "above_cutoff": int((similarity >= min_similarity).sum()),
                "same_label_candidates": int(same.sum()),
                "mined_with_label": int((selection.rows["label"] == label).sum()),
                "mined_for_label": mine.loc[mine["source"].isin(kept), "source"].nunique(),
                "similarity_min": float(similarity.min()) if len(mine) else None,
                "similarity_median": float(similarity.median()) if len(mine) else None,
                "similarity_max": float(similarity.max()) if len(mine) else None,
            }
        )
    return pd.DataFrame(rows)


def coverage_warnings(target_labels: set[str], pool_labels: set[str]) -> list[str]:
    """Return a warning for each target label that the pool does not have."""
    return [
        f"no pool sample is labelled {label!r}: its weak samples can only find other labels"
        for label in sorted(target_labels - pool_labels)
    ]


def yield_warning(kept: int, previous: int | None) -> list[str]:
    """Return a warning when the yield fell below half of the previous iteration's."""
    if previous and kept < previous / 2:
        return [f"yield fell from {previous} to {kept} pictures: the pool may be running out"]
    return []


def summary_text(facts: dict[str, Any], labels: pd.DataFrame) -> str:
    """Return ``mining_summary.txt``."""
    lines = [
        f"strategy: {facts['strategy']}   encoder: {facts['encoder'].get('name', '-')}",
        f"targets: {facts['targets']}   candidates: {facts['candidate_count']}   "
        f"kept: {facts['kept_count']}   rejected: {facts['rejected_count']}   "
        f"cutoff: {facts['similarity_threshold']}",
        f"new parts: {facts['new_rows']} ({facts['new_real']} real, {facts['new_sdg']} synthetic)",
        "",
        labels.to_string(index=False, float_format=lambda x: f"{x:.4f}"),
    ]
    lines += [f"warning: {w}" for w in facts["warnings"]]
    return "\n".join(lines) + "\n"
