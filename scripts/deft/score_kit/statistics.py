"""What the scores say: FAR and recall with bounds at the frozen threshold, and drift."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from .errors import Stop, rows_text
from .files import read_file
from .naming import GOOD_WORDS, UNCLEAR_WORDS, plain_word
from .table import FIRST_LINE, PASS, Parts

REFERENCE = "kpi_reference.json"
CONFIDENCE = 0.95
KEPT = 4096  # scores of a class that a reference holds; of more, evenly spread ones
FEW = 30  # parts below which a distribution is not judged
DRIFT_P, DRIFT_DISTANCE = 0.01, 0.1  # both must be passed: no chance, and large enough to matter
QUANTILES = (0, 5, 25, 50, 75, 95, 100)


def doubts(parts: Parts) -> list[str]:
    """Return what is doubtful in what FAR and recall are counted of, a sentence each.

    Raises Stop ``csv_invalid`` for a label that plainly means a good part and would count as a
    defect, and for a part that is labelled PASS in one row and as a defect in another.
    """
    plain, unclear = _by_word(parts, GOOD_WORDS - UNCLEAR_WORDS), _by_word(parts, UNCLEAR_WORDS)
    if plain:
        raise Stop(
            "csv_invalid",
            f"the label(s) {', '.join(map(repr, plain))} say that a part is good and would count "
            "as a defect: every label but PASS is one",
            file=parts.source,
            rows=sorted(line for lines in plain.values() for line in lines),
            fix="write PASS for good parts; leave the cell empty where the label is not known",
        )
    found = [
        f"label {label!r} counts as a defect, like every label but PASS: {rows_text(lines)}"
        for label, lines in unclear.items()
    ]
    again = _again(parts)
    if again:
        found.append(
            f"the same part stood in an earlier row and is counted again: {rows_text(again)}"
        )
    return found


def _by_word(parts: Parts, words: frozenset[str]) -> dict[str, list[int]]:
    """Return label -> lines of the table, of labels that are such a word in any case."""
    found: dict[str, list[int]] = {}
    for row, label in enumerate(parts.labels or ()):
        if label.strip() and plain_word(label) in words:
            found.setdefault(label, []).append(row + FIRST_LINE)
    return found


def _again(parts: Parts) -> list[int]:
    """Return the lines whose test pictures an earlier line has."""
    labels = parts.labels or [""] * len(parts)
    first: dict[tuple[str, ...], list[int]] = {}
    for row, files in enumerate(parts.test):
        first.setdefault(tuple(os.path.normpath(file) for file in files), []).append(row)
    several = [rows for rows in first.values() if len(rows) > 1]
    for rows in several:
        if len({labels[row] == PASS for row in rows if labels[row].strip()}) > 1:
            raise Stop(
                "csv_invalid",
                f"one part is labelled {', '.join(repr(labels[row]) for row in rows)}",
                file=parts.source,
                rows=[row + FIRST_LINE for row in rows],
                fix="look at the part and correct the label, or remove the wrong row",
            )
    return sorted(row + FIRST_LINE for rows in several for row in rows[1:])


def counted(scores: np.ndarray, labels: list[str], threshold: float) -> dict[str, Any]:
    """Return FAR and recall of the rows with a label, in per cent, with one-sided 95 % bounds.

    A rate without a part to measure it on is None.
    """
    known = np.array([bool(label.strip()) for label in labels])
    good = np.array([label == PASS for label in labels]) & known
    bad = known & ~good
    above = np.asarray(scores, np.float32) > np.float32(threshold)
    fp, tp = int((good & above).sum()), int((bad & above).sum())
    passing, defects = int(good.sum()), int(bad.sum())
    return {
        "labelled": int(known.sum()),
        "tp": tp,
        "fn": defects - tp,
        "fp": fp,
        "tn": passing - fp,
        "far_pct": 100 * fp / passing if passing else None,
        "far_upper95_pct": 100 * upper_bound(fp, passing) if passing else None,
        "recall_pct": 100 * tp / defects if defects else None,
        "recall_lower95_pct": 100 * lower_bound(tp, defects) if defects else None,
    }


def upper_bound(count: int, total: int, confidence: float = CONFIDENCE) -> float:
    """Return the exact one-sided Clopper-Pearson upper bound of a rate (0 to 1).

    The rate at which so few would be seen with a chance of ``1 - confidence``; 0 of 50: 0.0582.
    """
    if count >= total:
        return 1.0
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, total + 1)))])  # of factorials
    hits = np.arange(count + 1)
    ways = logs[total] - logs[hits] - logs[total - hits]
    low, high = count / total, 1.0
    while high - low > 1e-14:
        rate = (low + high) / 2
        at_most = np.exp(ways + hits * math.log(rate) + (total - hits) * math.log1p(-rate)).sum()
        if at_most > 1 - confidence:
            low = rate
        else:
            high = rate
    return high


def lower_bound(count: int, total: int, confidence: float = CONFIDENCE) -> float:
    """Return the exact one-sided Clopper-Pearson lower bound of a rate; 50 of 50: 0.9418."""
    return 1 - upper_bound(total - count, total, confidence)


def reference(scores: np.ndarray, good: np.ndarray, threshold: float) -> dict[str, Any]:
    """Return the content of ``kpi_reference.json``: the KPI set's scores at the hand-off.

    ``scores``: float32 (n,); ``good``: bool (n,), whose label is PASS.
    """
    scores = np.asarray(scores, np.float32)
    labels = [PASS if g else "defect" for g in good]
    return {
        "schema_version": 1,
        "threshold": float(np.float32(threshold)),
        "counts": counted(scores, labels, threshold),
        "good": _spread(scores[good]),
        "defects": _spread(scores[~good]),
    }


def read_reference(folder: Path) -> dict[str, Any]:
    """Read the reference of a hand-off; raises Stop ``missing_input``."""
    path = folder / REFERENCE
    try:
        told = json.loads(read_file(path))
        for name in ("good", "defects"):
            told[name] = np.asarray(told[name], np.float32).reshape(-1)
        told["counts"] = {name: int(told["counts"][name]) for name in ("tp", "fn", "fp", "tn")}
        told["threshold"] = float(told["threshold"])
        return dict(told)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        why = f"the KPI set's scores cannot be read ({error})"
        fix = "copy the hand-off's folder again, whole"
        raise Stop("missing_input", why, file=path, fix=fix) from None


def at_threshold(kpi: dict[str, Any], threshold: float) -> dict[str, Any]:
    """Return a reference whose threshold and counts are those of another threshold.

    Of a class with more than ``KEPT`` parts the count is that of the scores kept, scaled.
    """
    if np.float32(threshold) == np.float32(kpi["threshold"]):
        return kpi
    cut, old, new = np.float32(threshold), kpi["counts"], {}
    for name, above, below in (("good", "fp", "tn"), ("defects", "tp", "fn")):
        every, share = old[above] + old[below], (kpi[name] > cut).mean() if kpi[name].size else 0.0
        new[above] = round(float(share) * every)
        new[below] = every - new[above]
    return {**kpi, "threshold": float(cut), "counts": new}


def _spread(scores: np.ndarray) -> list[float]:
    ordered = np.sort(scores)
    if len(ordered) > KEPT:
        ordered = ordered[np.linspace(0, len(ordered) - 1, KEPT).round().astype(int)]
    return [float(str(score)) for score in ordered]


def drift(scores: np.ndarray, kpi: dict[str, Any]) -> dict[str, Any]:
    """Compare the scores of parts that pass with those of the KPI set's good parts that pass.

    How many defects a day brings is no drift of the model or the pictures, so what is rejected is
    counted beside. ``distance``: the largest gap of the two cumulative distributions (Kolmogorov,
    Smirnov), 0 to 1; ``p``: the chance of one so large without a drift. ``drifted`` is None where
    there are too few parts to tell.
    """
    cut = np.float32(kpi["threshold"])
    scores = np.asarray(scores, np.float32)
    new, old = np.sort(scores[scores <= cut]), np.sort(kpi["good"][kpi["good"] <= cut])
    counts = kpi["counts"]
    rejected, seen = counts["tp"] + counts["fp"], sum(counts[n] for n in ("tp", "fn", "fp", "tn"))
    out: dict[str, Any] = {
        "passing": len(new),
        "kpi_good_passing": len(old),
        "rejected_pct": 100 * float((scores > cut).mean()),
        "kpi_rejected_pct": 100 * rejected / seen if seen else None,
        "distance": None,
        "p": None,
        "drifted": None,
    }
    if min(len(new), len(old)) >= FEW:
        distance, chance = kolmogorov_smirnov(new, old)
        out |= {
            "distance": distance,
            "p": chance,
            "drifted": chance < DRIFT_P and distance >= DRIFT_DISTANCE,
        }
    for name, found in (("quantiles", new), ("kpi_quantiles", old)):
        values = np.percentile(found, QUANTILES).tolist() if len(found) else []
        out[name] = dict(zip(map(str, QUANTILES), values, strict=False))
    return out


def kolmogorov_smirnov(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Return the largest gap of two samples' cumulative distributions and its chance."""
    one, other = np.sort(one), np.sort(other)
    places = np.concatenate([one, other])
    shares = [np.searchsorted(side, places, "right") / len(side) for side in (one, other)]
    distance = float(np.abs(shares[0] - shares[1]).max())
    return distance, _chance(distance, len(one), len(other))


def _chance(distance: float, count: int, other: int) -> float:
    """Return the asymptotic chance of a Kolmogorov-Smirnov distance between two samples."""
    size = math.sqrt(count * other / (count + other))
    z = (size + 0.12 + 0.11 / size) * distance
    if z < 0.2:  # the series below needs more terms there; the chance is 1
        return 1.0
    total = sum((1, -1)[k % 2 == 0] * math.exp(-2 * (k * z) ** 2) for k in range(1, 101))
    return min(1.0, max(0.0, 2 * total))
