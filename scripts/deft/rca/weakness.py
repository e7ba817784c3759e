"""Weak samples: how far each KPI score lies on the wrong side of the threshold."""

from __future__ import annotations

import numpy as np
import pandas as pd

from deft.tables.changenet_table import SCORE_COLUMN, is_ng


def weakness(scores: np.ndarray, ng: np.ndarray, threshold: float) -> np.ndarray:
    """Return the signed distance (n,) float64 from the threshold in the wrong direction.

    ``score - t`` for PASS, ``t - score`` for NG; the higher, the worse the sample is handled.
    """
    distance = np.asarray(scores, dtype=np.float32).astype(np.float64) - float(threshold)
    return np.where(ng, -distance, distance)


def misclassified(scores: np.ndarray, ng: np.ndarray, threshold: float) -> np.ndarray:
    """Return which samples (n,) bool are wrong: the score against the threshold alone decides."""
    rejected = np.asarray(scores, dtype=np.float32) > np.float32(threshold)
    wrong: np.ndarray = rejected != np.asarray(ng, dtype=bool)
    return wrong


def wrong_side(weakness: float, ng: bool) -> bool:
    """Return whether a sample is misclassified, as its weakness and label tell.

    A score equal to the threshold (weakness zero) is not rejected: right for a good part, wrong
    for a defect.
    """
    return bool(weakness >= 0 if ng else weakness > 0)


def weak_samples(
    table: pd.DataFrame, threshold: float, top_k_per_label: int, rows: np.ndarray | None = None
) -> pd.DataFrame:
    """Return the weakest ``top_k_per_label`` rows of each label.

    ``table`` is an inference table with float ``siamese_score``. The result carries the position
    in the file as ``row`` (0-based: the table's index), ``weakness`` and ``misclassified``; ordered
    by label, then weakness (worst first), then row. ``rows``: positions of the only rows that count
    (another analysis' choice).
    """
    ng = table["label"].map(is_ng).to_numpy()
    scores = table[SCORE_COLUMN].to_numpy()
    out = table.assign(
        row=table.index.to_numpy(),
        weakness=weakness(scores, ng, threshold),
        misclassified=misclassified(scores, ng, threshold),
    )
    if rows is not None:
        out = out.iloc[rows]
    out = out.sort_values(
        ["label", "weakness", "row"], ascending=[True, False, True], kind="stable"
    )
    return out.groupby("label", sort=False).head(top_k_per_label).reset_index(drop=True)
