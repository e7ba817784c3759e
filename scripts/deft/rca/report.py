"""``RCA_Report.md``: seven sections, with the headings and tables that NVIDIA's checks want."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from deft.causes.find import LEVEL, WORDS
from deft.kpi.operating_point import RECALL_TOLERANCE
from deft.rca.markdown import code, report_text, table_lines
from deft.tables.changenet_table import SCORE_COLUMN, is_ng

ROWS_PER_LABEL = 10  # of the report's list; gaps.parquet has all
LABELS_IN_VERDICT = 3
TO_MARK = "☐ mislabeled ☐ edge case ☐ data quality ☐ systematic"


@dataclass(frozen=True)
class Findings:
    """What the report speaks of.

    Parameters
    ----------
    metrics: of ``metrics.json``.
    point: the operating point (:func:`deft.kpi.operating_point.point`).
    recalls: recall of every candidate threshold, 0 to 1.
    weak: the samples that were kept, ``spots``: those a person looks at, both worst first.
    pictures: row of the KPI table -> its picture, relative to the report.
    lights: number of lights of a part.
    causes: the named root causes with their pictures, surest first; None = nobody looked.
    """

    metrics: dict[str, Any]
    point: dict[str, Any]
    recalls: np.ndarray
    weak: pd.DataFrame
    spots: pd.DataFrame
    pictures: dict[int, str]
    lights: int
    causes: list[dict[str, Any]] | None = None


def threshold_text(metrics: dict[str, Any]) -> str:
    """Return the threshold with the digits of a float32, the same wherever the report has it."""
    return f"{metrics['threshold']:.9g}"


def report_markdown(found: Findings) -> str:
    """Return ``RCA_Report.md``."""
    sections = {
        "Verdict": _verdict(found),
        "Threshold Selection": _threshold(found),
        "Weakness Distribution": _distribution(found),
        "Top-K Weakest Samples (per label)": _weakest(found),
        "Visual Spot Check": _spots(found),
        "Per-Label Breakdown": _breakdown(found),
        "Recommended Actions": _actions(found),
    }
    return report_text("Root-cause analysis", sections)


def kept_counts(weak: pd.DataFrame) -> pd.DataFrame:
    """Return label -> ``kept``, ``share_pct`` of all kept, ``misclassified``, ``marginal``.

    Marginal samples are on the right side of the threshold; the least far of their label.
    """
    groups = weak.groupby("label", sort=True)["misclassified"]
    kept, wrong = groups.size(), groups.sum().astype(int)
    share = 100 * kept / max(len(weak), 1)
    return pd.DataFrame(
        {"kept": kept, "share_pct": share, "misclassified": wrong, "marginal": kept - wrong}
    )


def _verdict(found: Findings) -> list[str]:
    point, per_label = found.point, found.metrics["per_label"]
    wrong = {k: m["n_misclassified"] for k, m in per_label.items() if m["n_misclassified"]}
    top = sorted(wrong, key=lambda label: (-wrong[label], label))[:LABELS_IN_VERDICT]
    shares = [f"{code(k)} {wrong[k]} ({100 * wrong[k] / sum(wrong.values()):.1f} %)" for k in top]
    return [
        f"- Chosen threshold: {threshold_text(found.metrics)} (precision {point['precision']:.4f}, "
        f"recall {point['recall']:.4f}, F1 {point['f1']:.4f} on defects).",
        f"- KPI: recall >= {100 * found.metrics['min_recall']:g} % is reached with FAR "
        f"{point['far_pct']:.2f} %. {point['fp']} of {point['fp'] + point['tn']} good parts are "
        f"rejected and {point['fn']} of {point['fn'] + point['tp']} defects missed.",
        f"- Samples: {sum(m['total'] for m in per_label.values())} in all, {len(found.weak)} weak "
        f"ones kept, {sum(wrong.values())} misclassified.",
        f"- Labels with most of the misclassified: {', '.join(shares) or 'none'}.",
        f"- {len(found.weak)} weak samples stand in `gaps.parquet`, for routing and augmentation.",
    ]


def _threshold(found: Findings) -> list[str]:
    metrics, point = found.metrics, found.point
    reached = int((found.recalls >= metrics["min_recall"] - RECALL_TOLERANCE).sum())
    counts = metrics["confusion_matrix"]
    return [
        f"- Chosen threshold: {threshold_text(metrics)}; a part is rejected when its "
        f"`{SCORE_COLUMN}` is above it.",
        f"- Target: recall of defects >= {100 * metrics['min_recall']:g} %. Candidates evaluated: "
        f"{len(found.recalls)}; candidates that meet it: {reached}.",
        "- Among those: best F1, then precision, then the higher threshold. Here precision "
        f"{point['precision']:.4f}, recall {point['recall']:.4f}, F1 {point['f1']:.4f}.",
        f"- Exact one-sided 95 % bounds: recall at least {point['recall_lower95_pct']:.1f} %, FAR "
        f"at most {point['far_upper95_pct']:.1f} %.",
        "",
        "Confusion matrix at the chosen threshold:",
        "",
        "| | Predicted NO_PASS | Predicted PASS |",
        "|--|--|--|",
        f"| Actual NO_PASS | TP = {counts['tp']} | FN = {counts['fn']} |",
        f"| Actual PASS | FP = {counts['fp']} | TN = {counts['tn']} |",
    ]


def _distribution(found: Findings) -> list[str]:
    head = "Label", "Total", "Mean weakness", "Median weakness", "Max weakness", "Misclassified"
    rows = [
        (
            code(label),
            m["total"],
            *(f"{m[f'{name}_weakness']:.4f}" for name in ("mean", "median", "max")),
            m["n_misclassified"],
        )
        for label, m in found.metrics["per_label"].items()
    ]
    return [
        "Weakness is the distance of a score from the threshold on the wrong side: `score - "
        "threshold` for PASS, `threshold - score` for every other label. Positive means "
        "misclassified, negative means right by that margin. Each row speaks of all samples of "
        "the label in `inference.csv`, not only of those that were kept.",
        "",
        *table_lines(head, rows),
    ]


def _weakest(found: Findings) -> list[str]:
    head = "Label", "object_name", "input_path", SCORE_COLUMN, "weakness", "misclassified"
    shown = found.weak.groupby("label", sort=False).head(ROWS_PER_LABEL)
    rows = [
        (
            code(row["label"]),
            code(row["object_name"]),
            code(row["input_path"]),
            *_figures(row),
            _yes(row["misclassified"]),
        )
        for _, row in shown.iterrows()
    ]
    return [
        f"At most {found.metrics['top_k_per_label']} samples of each label were kept, the weakest. "
        f"The first {ROWS_PER_LABEL} of each are listed, worst first, one row per part; "
        "`gaps.parquet` has all of them, one row per part and light, with the paths of test and "
        "golden picture.",
        "",
        *table_lines(head, rows),
    ]


def _spots(found: Findings) -> list[str]:
    head = "Label", "object_name", SCORE_COLUMN, "weakness", "Test and golden", "Verdict"
    rows = [
        (
            code(row["label"]),
            code(row["object_name"]),
            *_figures(row),
            f"![]({found.pictures[int(row['row'])]})",
            TO_MARK,
        )
        for _, row in found.spots.iterrows()
    ]
    return [
        "The weakest good parts and the weakest defects of the whole KPI set, worst first: five of "
        "each where there are as many. Test picture left, golden right, first light. Nobody has "
        "looked at them yet: the verdict is for a person to mark, one of *mislabeled*, *edge "
        "case*, *data quality*, *systematic*. Mark a copy; the file is written anew when the "
        "stage runs again.",
        "",
        *table_lines(head, rows),
    ]


def _breakdown(found: Findings) -> list[str]:
    head = "Label", "Kept", "Share of kept", "Misclassified", "Marginal"
    rows = [
        (code(row.Index), row.kept, f"{row.share_pct:.1f} %", row.misclassified, row.marginal)
        for row in kept_counts(found.weak).itertuples()
    ]
    return [
        "Of the samples that were kept: how many of each label there are, how many are "
        "misclassified at the threshold, and how many are marginal, which means right but nearest "
        "to it. `weak_samples_breakdown.txt` has the same counts, beside the weakness of each "
        "label.",
        "",
        *table_lines(head, rows),
    ]


def _actions(found: Findings) -> list[str]:
    metrics, point = found.metrics, found.point
    missed = {k: m["n_misclassified"] for k, m in metrics["per_label"].items() if is_ng(k)}
    told = ", ".join(f"{code(k)} {n}" for k, n in missed.items() if n)
    defects = found.spots[found.spots["label"].map(is_ng)]
    lowest = code(defects.iloc[0]["label"]) if len(defects) else "of no label"
    pictures = len(found.weak) * found.lights
    return [
        "1. **Relabel** what section 5 shows to be mislabeled; a sample is `input_path` and "
        f"`object_name` of `inference.csv`. Missed defects: {told or 'none'}."
        + (" Check their labels first." if told else ""),
        f"2. **Augment** with `gaps.parquet` ({len(found.weak)} samples × {found.lights} light(s) "
        f"= {pictures} pictures), which routing hands on. The lowest-scoring defects set the "
        f"threshold, here {lowest}: more of them in training move it up. "
        f"{point['fp']} good part(s) are rejected: mine good parts that look like them.",
        f"3. **Threshold**: at {threshold_text(metrics)} the FAR is {point['far_pct']:.2f} %. "
        "Ship it if that meets the target; else train on, or agree on a lower recall where section "
        "5 shows the misclassified to be truly ambiguous.",
        "4. **Systematic failures**: if a sample of section 5 is marked so, note its light and "
        "component family; more data alone will not mend it.",
        *_causes(found),
    ]


def _causes(found: Findings) -> list[str]:
    if found.causes is None:
        return []
    lines = ["", "### Root causes that the pictures show", ""]
    lines += [
        "Facts measured on every part, without the model, against whether the part is among the "
        "missed or weakest defects or the false alarms. A cause is named where Fisher's exact "
        f"test, corrected for all causes asked (Holm), gives p below {LEVEL:g}; `causes.json` has "
        "every cause and the rules, `causes.csv` the facts of each part.",
        "",
    ]
    if not found.causes:
        return [*lines, "No cause is named: the wrong parts are like the others in all of them."]
    head = (
        "Cause",
        "Of",
        "Share of them",
        "Lift over the rest",
        "p (Holm)",
        "What helps",
        "Examples",
    )
    rows = []
    for cause in found.causes:
        shown = " ".join(f"![]({path})" for path in cause["pictures"])
        for side, word in WORDS.items():
            counted = cause[side]
            if counted is None or counted["p_corrected"] >= LEVEL:
                continue
            lift = "only there" if counted["lift"] is None else f"{counted['lift']:.1f} ×"
            share = (
                f"{counted['flagged_wrong']} of {counted['wrong']} ({counted['share_pct']:.0f} %)"
            )
            title = code(cause["title"]) if cause["kind"] == "group" else cause["title"]
            p = f"{counted['p_corrected']:.1e}"
            rows.append((title, word, share, lift, p, cause["cure"], shown))
    return [*lines, *table_lines(head, rows)]


def _figures(row: pd.Series) -> tuple[str, str]:
    return f"{row[SCORE_COLUMN]:.4f}", f"{row['weakness']:.4f}"


def _yes(value: object) -> str:
    return "yes" if value else "no"
