"""From inference tables to the KPI files of a phase."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deft.core.errors import HardStop
from deft.core.files import write_json_atomic, write_text_atomic
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
from deft.kpi.plots import plot_confusion, plot_scores
from deft.kpi.steady import far_geometric_mean_pct
from deft.settings.metric_contract import far_result
from deft.tables.changenet_table import SCORE_COLUMN, is_ng, line_of, read_table, write_table
from deft.tables.labels import first_spellings, shown
from deft.tables.sealed import TABLES, seals

KINDS = ("best_val", "latest")
FAR_LEVELS_PCT = (100, 99, 95)
EVERY_DEFECT = "100"  # of ``far_at_recall``: the threshold that misses no defect


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
    ng = table["label"].map(is_ng).to_numpy()
    check_scores(scores, ng, file=str(path))
    spellings = first_spellings(table["label"])
    labels = table["label"].map({raw: shown(raw, spellings) for raw in table["label"].unique()})
    return table.assign(label=labels, **{SCORE_COLUMN: scores.astype(np.float64)})


def evaluate_table(
    path: str | Path, min_recall: float, correct: Correct | None = None
) -> dict[str, Any]:
    """Evaluate one inference table, write the files beside it and return the JSON-ready result.

    Keys: recall_point, best_f1, far_at_recall, far_geometric_mean_pct, recall_table, degenerate,
    auroc, average_precision, and (for the phase's metrics) labels, all_alike and tables (seals of
    the files).
    """
    path = Path(path)
    table = read_scores(path, correct)
    scores = table[SCORE_COLUMN].to_numpy(dtype=np.float32)
    ng = table["label"].map(is_ng).to_numpy()
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
    result[TABLES] = _write_files(path.parent, table, swept, result, min_recall)
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


def _write_files(
    folder: Path,
    table: pd.DataFrame,
    swept: dict[str, np.ndarray],
    result: dict[str, Any],
    min_recall: float,
) -> dict[str, Any]:
    frame = threshold_table(swept)
    write_table(frame, folder / "threshold_metrics.csv")
    write_text_atomic(folder / "summary.txt", summary_text(result, min_recall))
    missed = missed_samples(table, result["best_f1"]["threshold"])
    write_table(missed, folder / "best_f1_missed_no_pass_samples.csv")
    write_json_atomic(folder / "metric_result.json", far_result(result["recall_point"]))
    scores = table[SCORE_COLUMN].to_numpy()
    ng = table["label"].map(is_ng).to_numpy()
    asked, whole = result["recall_point"], result["far_at_recall"][EVERY_DEFECT]
    lowest = folder / "score_distribution_with_recall_100_threshold.png"
    plot_scores(lowest, scores, ng, asked, whole["threshold"])
    plot_confusion(folder / "confusion_matrix_recall_100.png", whole, "100 % recall threshold")
    plot_confusion(folder / "confusion_matrix_best_f1.png", result["best_f1"], "best F1")
    plot_confusion(folder / "confusion_recall_point.png", asked, "recall point")
    written = {
        "threshold_metrics.csv": len(frame),
        "best_f1_missed_no_pass_samples.csv": len(missed),
    }
    return seals(folder, written)


def threshold_table(swept: dict[str, np.ndarray]) -> pd.DataFrame:
    """Return ``threshold_metrics.csv``: the sweep, three counts by NVIDIA's names, exact bounds."""
    tp, fp, tn, fn = (swept[name] for name in ("tp", "fp", "tn", "fn"))
    return pd.DataFrame(
        {
            **swept,
            "predicted_no_pass_count": tp + fp,
            "actual_no_pass_count": tp + fn,
            "actual_pass_count": tn + fp,
            "recall_lower95": recall_lower_bound(tp, tp + fn),
            "far_upper95": far_upper_bound(fp, fp + tn),
        }
    )


def missed_samples(table: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Return the defects that are accepted at a threshold, the lowest score first, then by row.

    Behind the table's own columns stand NVIDIA's ``analysis_*``; ``analysis_row_index`` is the
    line of ``inference.csv``, its header being the first.
    """
    scores = table[SCORE_COLUMN].to_numpy(dtype=np.float32)
    missed = table["label"].map(is_ng).to_numpy() & (scores <= np.float32(threshold))
    found = table[missed].assign(
        analysis_row_index=[line_of(i) for i in np.flatnonzero(missed)],
        analysis_score=table[SCORE_COLUMN][missed],
        analysis_threshold=threshold,
        analysis_actual_label_group="NO_PASS",
        analysis_predicted_label_group="PASS",
        analysis_outcome="MISSED_NO_PASS",
    )
    return found.sort_values(["analysis_score", "analysis_row_index"], kind="stable")


def key_line(whole: dict[str, Any]) -> str:
    """Return the line by which other tools find the threshold that misses no defect."""
    return (
        f"100% recall threshold: {whole['threshold']:.9g} (FAR={whole['far_pct']:.4f}%, "
        f"precision={whole['precision']:.6f}, recall={whole['recall']:.6f}, f1={whole['f1']:.6f})"
    )


def point_line(point: dict[str, Any]) -> str:
    """Return an operating point as one line with counts and exact one-sided 95 % bounds."""
    ng, ok = point["tp"] + point["fn"], point["fp"] + point["tn"]
    return (
        f"threshold {point['threshold']:.6g}: recall {point['recall_pct']:.2f} % "
        f"({point['tp']}/{ng}, proves >= {point['recall_lower95_pct']:.1f} %), "
        f"FAR {point['far_pct']:.2f} % ({point['fp']}/{ok}, "
        f"at most {point['far_upper95_pct']:.1f} %), "
        f"precision {point['precision']:.4f}, F1 {point['f1']:.4f}"
    )


def summary_text(result: dict[str, Any], min_recall: float) -> str:
    """Return ``summary.txt``."""
    lines = [
        "A part is rejected when its score is above the threshold; high scores are bad.",
        "Bounds are exact, one-sided, 95 % (Clopper-Pearson).",
        "",
        key_line(result["far_at_recall"][EVERY_DEFECT]),
        "",
        f"at recall >= {100 * min_recall:g} %: {point_line(result['recall_point'])}",
        f"at best F1: {point_line(result['best_f1'])}",
        "",
    ]
    lines.append(
        "FAR, geometric mean over recalls of 90 to 99.75 %: "
        f"{result['far_geometric_mean_pct']:.4g} %"
    )
    lines += [f"FAR at recall {k} %: {point_line(p)}" for k, p in result["far_at_recall"].items()]
    lines.append(
        f"AUROC {result['auroc']:.4f}, average precision {result['average_precision']:.4f}"
    )
    if result["degenerate"]:
        lines.append("warning: degenerate operating point, every good part is rejected")
    return "\n".join(lines) + "\n"


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
        swept = sweep(scores, table["label"].map(is_ng).to_numpy())
        far[kind] = at_recall(swept, min_recall)["far"]
    return chosen_kind(far, weights)


def evaluate_phase(
    phase_dir: str | Path,
    phase: str,
    min_recall: float,
    weights: dict[str, Any],
    correct: Correct | None = None,
    further: Mapping[str, Any] | None = None,
    compared: Callable[[dict[str, Any]], Mapping[str, Any]] = lambda metrics: {},
) -> dict[str, Any]:
    """Evaluate both weight files of a phase, choose one, write and return ``metrics.json``.

    Chosen: lower FAR at the required recall, then lower validation loss, then the later epoch.
    ``weights`` is the phase's ``weights.json``; ``correct``: see :func:`read_scores`;
    ``further``: what the record says beside; ``compared``: what more it says, of its content.
    """
    phase_dir = Path(phase_dir)
    kinds, per_kind_labels = {}, {}
    tables: dict[str, Any] = {}
    for kind in KINDS:
        path = phase_dir / "inference" / kind / "inference.csv"
        result = evaluate_table(path, min_recall, correct)
        per_kind_labels[kind] = result.pop("labels")
        tables |= {f"inference/{kind}/{n}": seal for n, seal in result.pop(TABLES).items()}
        kinds[kind] = result

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
    metrics |= compared(metrics)
    write_json_atomic(phase_dir / "metrics.json", metrics)
    return metrics
