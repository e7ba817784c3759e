"""From inference tables to the KPI files of a phase."""

from __future__ import annotations

import filecmp
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deft.core.errors import HardStop
from deft.core.files import copy_atomically, write_json_atomic
from deft.kpi.beside import BESIDE, write_files
from deft.kpi.operating_point import (
    RECALL_LEVELS_PCT,
    all_alike,
    at_recall,
    best_f1_point,
    check_scores,
    far_upper_bound,
    point,
    recall_lower_bound,
    sweep,
)
from deft.kpi.steady import far_geometric_mean_pct
from deft.tables.changenet_table import (
    SCORE_COLUMN,
    is_ng,
    ng_of,
    read_table,
)
from deft.tables.labels import first_spellings, shown
from deft.tables.sealed import TABLES

KINDS = ("best_val", "latest")
FAR_LEVELS_PCT = (100, 99, 95)


Correct = Callable[[pd.DataFrame], pd.DataFrame]  # a table as read -> with its labels corrected


def read_scores(path: str | Path, correct: Correct | None = None) -> pd.DataFrame:
    """Read an inference table; ``siamese_score`` becomes float64 of the float32 in the file.

    Spellings of one label (``Bridge``, ``BRIDGE``) become its first one in the table. ``correct``:
    what a person corrected in the KPI table; the index still names the rows of the file.

    Raises ``csv_invalid`` without the column, ``score_invalid`` for what is not a finite number.
    """
    table = read_table(path, check_labels=False)
    if correct is not None:
        table = correct(table)
    if SCORE_COLUMN not in table:
        raise HardStop("csv_invalid", f"column {SCORE_COLUMN} is missing", file=path, row=1)
    scores = pd.to_numeric(table[SCORE_COLUMN], errors="coerce").to_numpy(dtype=np.float32)
    check_scores(scores, ng_of(table["label"]), file=str(path))
    spellings = first_spellings(table["label"].unique())
    labels = table["label"].map({raw: shown(raw, spellings) for raw in table["label"].unique()})
    return table.assign(label=labels, **{SCORE_COLUMN: scores.astype(np.float64)})


def evaluate_table(
    path: str | Path,
    min_recall: float,
    correct: Correct | None = None,
    table: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """Evaluate one inference table, write the files beside it and return the JSON-ready result.

    ``table``: what :func:`read_scores` made of it, where that is known.
    Keys: recall_point, best_f1, far_at_recall, far_geometric_mean_pct, recall_table, degenerate,
    auroc, average_precision, and (for the phase's metrics) labels, all_alike and tables (seals of
    the files).
    """
    path = Path(path)
    table = read_scores(path, correct) if table is None else table
    scores = table[SCORE_COLUMN].to_numpy(dtype=np.float32)
    ng = ng_of(table["label"])
    swept = sweep(scores, ng)
    operating = at_recall(swept, min_recall)
    f1 = point(swept, best_f1_point(swept), None)
    result = {
        "recall_point": operating,
        "best_f1": f1,
        "far_at_recall": {str(p): at_recall(swept, p / 100) for p in FAR_LEVELS_PCT},
        "far_geometric_mean_pct": far_geometric_mean_pct(scores, ng),
        "recall_table": [at_recall(swept, p / 100) for p in RECALL_LEVELS_PCT],
        "degenerate": operating["far"] >= 1.0,
        "auroc": auroc(scores, ng),
        "average_precision": average_precision(swept),
        "labels": label_table(table, operating["threshold"]),
        "all_alike": all_alike(scores),
    }
    result[TABLES] = write_files(path.parent, table, swept, result, min_recall)
    return result


def refuse_alike(phase_dir: Path, kinds: dict[str, dict[str, Any]]) -> None:
    """Stop with ``score_invalid`` when no weight file of a phase tells any part from another.

    One that does is enough: a training may collapse after its best epoch.
    """
    if not all(result["all_alike"] for result in kinds.values()):
        return
    table = phase_dir / "inference" / KINDS[0] / "inference.csv"
    scores = read_scores(table)[SCORE_COLUMN]
    raise HardStop(
        "score_invalid",
        f"all {len(scores)} KPI scores are alike ({scores.min():.9g} to {scores.max():.9g}): the "
        "network tells no part from another",
        file=table,
        fix="look at the KPI pictures (are they all black, white or one picture?), at train.log (a "
        "loss that stays where it began, or a learning rate that is too high), and at the weights "
        "that the training started from",
    )


def auroc(scores: np.ndarray, ng: np.ndarray) -> float:
    """Return the probability that a defect scores above a good part (ties count half)."""
    ok = np.sort(scores[~ng])
    below = np.searchsorted(ok, scores[ng], side="left")
    upto = np.searchsorted(ok, scores[ng], side="right")
    return float((below + upto).sum() / 2 / (ok.size * ng.sum()))


def average_precision(swept: dict[str, np.ndarray]) -> float:
    """Return the sum over thresholds of (recall step) x precision, from high thresholds down."""
    recall, precision = swept["recall"][::-1], swept["precision"][::-1]
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def label_table(table: pd.DataFrame, threshold: float) -> dict[str, dict[str, Any]]:
    """Return per label: count, score range, and how many are caught (PASS: rejected) with bound."""
    out = {}
    for label, group in table.groupby("label", sort=True):
        scores = group[SCORE_COLUMN].to_numpy(dtype=np.float32)
        above = int((scores > np.float32(threshold)).sum())
        entry: dict[str, Any] = {
            "count": len(group),
            "min_score": float(scores.min()),
            "mean_score": float(scores.mean(dtype=np.float64)),
            "max_score": float(scores.max()),
        }
        if is_ng(str(label)):
            entry["caught"] = above
            entry["recall_lower95_pct"] = 100 * float(recall_lower_bound(above, len(group)))
        else:
            entry["rejected"] = above
            entry["far_upper95_pct"] = 100 * float(far_upper_bound(above, len(group)))
        out[str(label)] = entry
    return out


def chosen_kind(far: Mapping[str, float], weights: dict[str, Any]) -> str:
    """Return the kind of weights with the lowest FAR, then validation loss, then the later epoch.

    ``far``: kind -> FAR at the required recall; ``weights``: the phase's ``weights.json``.
    """
    files = {entry["path"]: entry for entry in weights["files"]}

    def rank(kind: str) -> tuple[float, float, int]:
        entry = files[weights[kind]]
        loss = entry["val_loss"]
        return far[kind], float("inf") if loss is None else loss, -entry["epoch"]

    return min(KINDS, key=rank)


def weights_of(weights: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return what ``metrics.json`` says of a kind's weight file; its path is below the phase."""
    entry = next(e for e in weights["files"] if e["path"] == weights[kind])
    return {**entry, "path": f"train/{entry['path']}"}


def kind_at(
    phase_dir: Path, min_recall: float, weights: dict[str, Any], correct: Correct | None
) -> str:
    """Return the kind of weights that labels corrected otherwise would choose; writes nothing."""
    far = {}
    for kind in KINDS:
        table = read_scores(phase_dir / "inference" / kind / "inference.csv", correct)
        scores = table[SCORE_COLUMN].to_numpy(dtype=np.float32)
        swept = sweep(scores, ng_of(table["label"]))
        far[kind] = at_recall(swept, min_recall)["far"]
    return chosen_kind(far, weights)


def _same(path: Path, other: Path) -> bool:
    """Return whether two files that may be absent have one content."""
    return path.is_file() and other.is_file() and filecmp.cmp(path, other, shallow=False)


def evaluate_phase(
    phase_dir: str | Path,
    phase: str,
    min_recall: float,
    weights: dict[str, Any],
    correct: Correct | None = None,
    further: Mapping[str, Any] | None = None,
    compared: Callable[[dict[str, Any], pd.DataFrame], Mapping[str, Any]] = lambda *_: {},
) -> dict[str, Any]:
    """Evaluate both weight files of a phase, choose one, write and return ``metrics.json``.

    Chosen: lower FAR at the required recall, then lower validation loss, then the later epoch.
    ``weights`` is the phase's ``weights.json``; ``correct``: see :func:`read_scores`;
    ``further``: what the record says beside; ``compared``: what more it says, of its content and
    of the chosen table. Two tables of one content (the best epoch was the last) are evaluated once.
    """
    phase_dir = Path(phase_dir)
    kinds, per_kind_labels = {}, {}
    scored: dict[str, pd.DataFrame] = {}
    tables: dict[str, Any] = {}
    for kind in KINDS:
        path = phase_dir / "inference" / kind / "inference.csv"
        first = path.parent.with_name(KINDS[0]) / path.name
        if kind == KINDS[0] or not _same(path, first):
            scored[kind] = read_scores(path, correct)
            found = evaluate_table(path, min_recall, table=scored[kind])
        else:
            scored[kind] = scored[KINDS[0]]
            for name in BESIDE:
                copy_atomically(first.with_name(name), path.with_name(name))
        kinds[kind] = {k: v for k, v in found.items() if k not in ("labels", TABLES)}
        per_kind_labels[kind] = found["labels"]
        tables |= {f"inference/{kind}/{n}": seal for n, seal in found[TABLES].items()}

    refuse_alike(phase_dir, kinds)
    for result in kinds.values():
        del result["all_alike"]

    chosen = chosen_kind({k: r["recall_point"]["far"] for k, r in kinds.items()}, weights)
    labels = per_kind_labels[chosen]
    ng_rows = sum(v["count"] for k, v in labels.items() if is_ng(k))
    rows = sum(v["count"] for v in labels.values())
    metrics = {
        "schema_version": 1,
        "phase": phase,
        "min_recall": min_recall,
        "chosen": chosen,
        "weights": weights_of(weights, chosen),
        "counts": {
            "rows": rows,
            "ng": ng_rows,
            "pass": rows - ng_rows,
            "labels": {k: v["count"] for k, v in labels.items()},
        },
        "kinds": kinds,
        "labels": labels,
        TABLES: tables,
        **(further or {}),
    }
    metrics |= compared(metrics, scored[chosen])
    write_json_atomic(phase_dir / "metrics.json", metrics)
    return metrics
