"""What stands beside an inference table: thresholds, the summary, missed defects, pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deft.core.files import write_json_atomic, write_text_atomic
from deft.kpi.many_bounds import bounds_of
from deft.kpi.operating_point import far_upper_bound, recall_lower_bound
from deft.kpi.plots import plot_confusion, plot_scores
from deft.settings.metric_contract import far_result
from deft.tables.changenet_table import SCORE_COLUMN, line_of, ng_of, write_table
from deft.tables.many_rows import write_numbers
from deft.tables.sealed import seals

# What is written beside an inference table.
BESIDE = (
    "threshold_metrics.csv",
    "summary.txt",
    "best_f1_missed_no_pass_samples.csv",
    "metric_result.json",
    "score_distribution_with_recall_100_threshold.png",
    "confusion_matrix_recall_100.png",
    "confusion_matrix_best_f1.png",
    "confusion_recall_point.png",
)
EVERY_DEFECT = "100"  # of ``far_at_recall``: the threshold that misses no defect


def write_files(
    folder: Path,
    table: pd.DataFrame,
    swept: dict[str, np.ndarray],
    result: dict[str, Any],
    min_recall: float,
) -> dict[str, Any]:
    """Write the files of ``BESIDE`` into the folder; return the seals of its tables.

    ``result``: of :func:`deft.kpi.evaluation.evaluate_table`, ``swept`` what it was read off.
    """
    frame = threshold_table(swept)
    write_numbers(frame, folder / "threshold_metrics.csv")
    write_text_atomic(folder / "summary.txt", summary_text(result, min_recall))
    missed = missed_samples(table, result["best_f1"]["threshold"])
    write_table(missed, folder / "best_f1_missed_no_pass_samples.csv")
    write_json_atomic(folder / "metric_result.json", far_result(result["recall_point"]))
    scores = table[SCORE_COLUMN].to_numpy()
    ng = ng_of(table["label"])
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
            "recall_lower95": bounds_of(recall_lower_bound, tp, int(tp[0] + fn[0])),
            "far_upper95": bounds_of(far_upper_bound, fp, int(fp[0] + tn[0])),
        }
    )


def missed_samples(table: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Return the defects that are accepted at a threshold, the lowest score first, then by row.

    Behind the table's own columns stand NVIDIA's ``analysis_*``; ``analysis_row_index`` is the
    line of ``inference.csv``, its header being the first.
    """
    scores = table[SCORE_COLUMN].to_numpy(dtype=np.float32)
    missed = ng_of(table["label"]) & (scores <= np.float32(threshold))
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
