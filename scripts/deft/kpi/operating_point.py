"""The KPI: thresholds, the operating point at a required recall, FAR, exact bounds.

NG (any label other than PASS) is the positive class. A part is rejected when
``score > threshold``; high scores are bad. FAR = FP / (FP + TN), the share of good parts that are
rejected; recall = TP / (TP + FN), the share of defects that are caught.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from deft.core.errors import HardStop
from deft.settings.kpi_target import KpiTarget, parse_kpi

__all__ = ["KpiTarget", "parse_kpi"]  # read them from here; kept apart to parse fast

RECALL_TOLERANCE = 1e-12
CONFIDENCE = 0.95
# Of a score: what batch sizes, threads and runtimes move it by (docs/deploy.md).
NOISE = 1e-6
RECALL_LEVELS_PCT = (100.0, 99.5, 99.0, 98.0, 95.0, 90.0)


def recall_lower_bound(
    caught: npt.ArrayLike, total: npt.ArrayLike, confidence: float = CONFIDENCE
) -> np.ndarray:
    """Return the exact one-sided Clopper–Pearson lower bounds of rates (0 to 1), float64.

    The ``1 - confidence`` quantile of ``Beta(k, n - k + 1)``; 50 of 50 gives 0.9418. Counts are
    numbers or arrays of one shape.
    """
    caught, total = np.asarray(caught, dtype=np.float64), np.asarray(total, dtype=np.float64)
    none = (total == 0) | (caught == 0)
    return _beta_quantile(1 - confidence, caught, total - caught + 1, none, 0.0)


def far_upper_bound(
    rejected: npt.ArrayLike, total: npt.ArrayLike, confidence: float = CONFIDENCE
) -> np.ndarray:
    """Return the exact one-sided Clopper–Pearson upper bounds of rates (0 to 1), float64.

    The ``confidence`` quantile of ``Beta(k + 1, n - k)``; 0 of 50 gives 0.0582. Counts are numbers
    or arrays of one shape.
    """
    rejected, total = np.asarray(rejected, dtype=np.float64), np.asarray(total, dtype=np.float64)
    every = (total == 0) | (rejected >= total)
    return _beta_quantile(confidence, rejected + 1, total - rejected, every, 1.0)


def _beta_quantile(
    q: float, a: np.ndarray, b: np.ndarray, known: np.ndarray, value: float
) -> np.ndarray:
    """Return quantiles of beta distributions, ``value`` where the answer is ``known``."""
    # Not scipy.stats, whose import costs a second; and this one only where bounds are wanted.
    from scipy.special import betaincinv

    return np.where(known, value, betaincinv(np.where(known, 1, a), np.where(known, 1, b), q))


def check_scores(scores: np.ndarray, is_ng: np.ndarray, file: str | None = None) -> None:
    """Raise ``score_invalid`` for a non-finite score, ``kpi_invalid`` for a one-class set."""
    bad = np.flatnonzero(~np.isfinite(scores))
    if bad.size:
        raise HardStop(
            "score_invalid",
            f"{bad.size} score(s) are not finite (first: {scores[bad[0]]})",
            file=file,
            row=[int(i) + 2 for i in bad],
            fix="the model or its input is broken; look at train.log for a diverged loss",
        )
    for wanted, name in ((True, "NG (defective)"), (False, "PASS")):
        if not (is_ng == wanted).any():
            raise HardStop(
                "kpi_invalid",
                f"the KPI set has no {name} sample, so recall and FAR cannot both be measured",
                file=file,
                fix="add at least one of each to the KPI table",
            )


def all_alike(scores: np.ndarray) -> bool:
    """Return whether scores (n,) tell nothing: equal, or apart by no more than float noise."""
    scores = np.asarray(scores, dtype=np.float32)
    low, high = float(scores.min()), float(scores.max())
    return high - low <= NOISE * max(abs(low), abs(high))


def candidate_thresholds(scores: np.ndarray) -> np.ndarray:
    """Return the candidate thresholds, ascending, float32 (k+1,) for k distinct scores.

    The next float32 below the lowest score (rejects all), then every distinct score.
    """
    distinct = np.unique(np.asarray(scores, dtype=np.float32))
    below = np.nextafter(distinct[0], np.float32(-np.inf), dtype=np.float32)
    return np.concatenate([[below], distinct]).astype(np.float32)


def sweep(scores: np.ndarray, is_ng: np.ndarray) -> dict[str, np.ndarray]:
    """Return counts and rates at every candidate threshold.

    Parameters
    ----------
    scores: (n,) any float; compared in float32. High is bad.
    is_ng: (n,) bool.

    Returns a dict of arrays (k,): threshold, tp, fp, tn, fn, precision, recall, f1, accuracy, far.
    Precision without any rejection is 0, as is F1.
    """
    scores = np.asarray(scores, dtype=np.float32)
    is_ng = np.asarray(is_ng, dtype=bool)
    thresholds = candidate_thresholds(scores)
    ng, ok = np.sort(scores[is_ng]), np.sort(scores[~is_ng])
    fn = np.searchsorted(ng, thresholds, side="right")
    tn = np.searchsorted(ok, thresholds, side="right")
    tp, fp = ng.size - fn, ok.size - tn
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(tp + fp > 0, tp / np.maximum(tp + fp, 1), 0.0)
        recall = tp / max(ng.size, 1)
        f1 = np.where(tp > 0, 2 * tp / (2 * tp + fp + fn), 0.0)
    return {
        "threshold": thresholds,
        "tp": tp,
        "fp": fp,
        "tn": tn,
        "fn": fn,
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "accuracy": (tp + tn) / scores.size,
        "far": fp / max(ok.size, 1),
    }


def recall_point(table: dict[str, np.ndarray], min_recall: float) -> int | None:
    """Return the index of the operating point at ``min_recall`` (0 to 1), or None.

    Among thresholds that reach the recall: best F1, then precision, then the higher threshold.
    """
    reached = np.flatnonzero(table["recall"] >= min_recall - RECALL_TOLERANCE)
    if reached.size == 0:
        return None
    keys = [table[name][reached] for name in ("threshold", "precision", "f1")]
    return int(reached[np.lexsort(keys)[-1]])


def best_f1_point(table: dict[str, np.ndarray]) -> int:
    """Return the index of the best F1, then recall, then precision, then the higher threshold."""
    keys = [table[name] for name in ("threshold", "precision", "recall", "f1")]
    return int(np.lexsort(keys)[-1])


def point(table: dict[str, np.ndarray], index: int, min_recall: float | None) -> dict[str, Any]:
    """Return one threshold as JSON-ready numbers with counts, rates and exact 95 % bounds."""
    row = {name: values[index] for name, values in table.items()}
    tp, fp, tn, fn = (int(row[name]) for name in ("tp", "fp", "tn", "fn"))
    out: dict[str, Any] = {"tp": tp, "fp": fp, "tn": tn, "fn": fn}
    out["threshold"] = float(row["threshold"])
    for name in ("precision", "recall", "f1", "accuracy", "far"):
        out[name] = float(row[name])
    out["min_recall_pct"] = None if min_recall is None else round(min_recall * 100, 6)
    out["recall_pct"] = 100 * out["recall"]
    out["far_pct"] = 100 * out["far"]
    out["recall_lower95_pct"] = 100 * float(recall_lower_bound(tp, tp + fn))
    out["far_upper95_pct"] = 100 * float(far_upper_bound(fp, fp + tn))
    return out


def at_recall(table: dict[str, np.ndarray], min_recall: float) -> dict[str, Any]:
    """Return the operating point at a recall; always reachable with the sweep's candidates."""
    index = recall_point(table, min_recall)
    if index is None:
        raise HardStop(
            "kpi_invalid",
            f"no threshold reaches recall {min_recall:.4%}; best {best_recall(table):.4%}",
        )
    return point(table, index, min_recall)


def best_recall(table: dict[str, np.ndarray]) -> float:
    """Return the highest recall that any threshold has (0 to 1)."""
    return float(table["recall"].max(initial=0.0))
