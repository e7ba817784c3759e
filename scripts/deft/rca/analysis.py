"""Root-cause analysis of a phase: which KPI samples are weak, and what that suggests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from deft.core.files import (
    link_or_copy,
    replace_atomically,
    write_json_atomic,
    write_text_atomic,
)
from deft.kpi import operating_point
from deft.rca.report import Findings, kept_counts, report_markdown
from deft.rca.spot_check import (
    FOLDER,
    Pictures,
    save_examples,
    save_pictures,
    spot_checked,
)
from deft.rca.weakness import misclassified, weak_samples, weakness
from deft.run.roots import with_root
from deft.tables.changenet_table import SCORE_COLUMN, is_ng
from deft.tables.sealed import TABLES, seals

CAUSES = "causes"  # named root causes of the part, `;` between them
GAP_COLUMNS = (
    "filepath",
    "label",
    "siamese_score",
    "weakness",
    "light",
    "golden_filepath",
    "row",
    "object_name",
    "input_path",
    "golden_path",
    CAUSES,
)
GAPS = "kpi_gaps.parquet"
NVIDIA_GAPS = "gaps.parquet"  # the same table by the name that NVIDIA's tools look for


def gaps_table(weak: pd.DataFrame, pictures: Pictures) -> pd.DataFrame:
    """Return one row per weak sample and light; paths are absolute."""
    rows = []
    for light in pictures.lights:
        for _, row in weak.iterrows():
            rows.append(
                {
                    **{name: row[name] for name in GAP_COLUMNS if name in row},
                    "filepath": str(pictures.test(row, light).absolute()),
                    "golden_filepath": str(pictures.golden(row, light).absolute()),
                    "light": light,
                }
            )
    frame = pd.DataFrame(rows, columns=list(GAP_COLUMNS))
    frame[CAUSES] = frame[CAUSES].fillna("")
    return frame.astype({"siamese_score": float, "weakness": float, "row": "int64"})


def analyse(
    table: pd.DataFrame,
    min_recall: float,
    top_k_per_label: int,
    pictures: Pictures,
    out: Path,
    rows: np.ndarray | None = None,
    causes: tuple[dict[str, Any], list[str]] | None = None,
) -> dict[str, Any]:
    """Write every file of ``rca_results/<TS>/`` and return its ``metrics.json``.

    ``rows``: see :func:`deft.rca.weakness.weak_samples`. ``causes``: ``causes.json`` and each row's
    cell of named causes; None where nobody looked for them.
    If no threshold reaches ``min_recall``: ``unreachable_kpi.txt``, and no gaps.
    """
    scores = table[SCORE_COLUMN].to_numpy(dtype=np.float32)
    ng = table["label"].map(is_ng).to_numpy()
    swept = operating_point.sweep(scores, ng)
    index = operating_point.recall_point(swept, min_recall)
    if index is None:
        return _unreachable(swept, min_recall, pictures, out)
    point = operating_point.point(swept, index, min_recall)
    threshold = point["threshold"]
    if causes is not None:
        table = table.assign(**{CAUSES: causes[1]})
    ranked = weak_samples(table, threshold, len(table))
    weak = weak_samples(table, threshold, top_k_per_label, rows)
    spots = spot_checked(ranked)
    metrics = {
        "threshold": threshold,
        "precision": point["precision"],
        "recall": point["recall"],
        "f1": point["f1"],
        "confusion_matrix": {k: point[k] for k in ("tp", "fp", "tn", "fn")},
        "far_pct": point["far_pct"],
        "min_recall": min_recall,
        "top_k_per_label": top_k_per_label,
        "weak_samples": len(weak),
        "per_label": label_metrics(table, scores, ng, threshold),
    }
    write_text_atomic(out / "threshold.txt", f"{threshold!r}\n")
    write_text_atomic(out / "weak_samples_breakdown.txt", breakdown_text(metrics, weak))
    gaps = gaps_table(weak, pictures)
    metrics[TABLES] = _write_gaps(out, gaps, pictures)
    write_json_atomic(out / "metrics.json", metrics)
    saved = save_pictures(ranked, spots, pictures, out / FOLDER)
    told = named_causes(causes[0], ranked, pictures, out) if causes else None
    lights = len(pictures.lights)
    found = Findings(metrics, point, swept["recall"], weak, spots, saved, lights, told)
    write_text_atomic(out / "RCA_Report.md", report_markdown(found))
    return metrics


def threshold_of(table: pd.DataFrame, min_recall: float) -> float | None:
    """Return the threshold of an inference table's recall point; None if none reaches it."""
    scores = table[SCORE_COLUMN].to_numpy(dtype=np.float32)
    swept = operating_point.sweep(scores, table["label"].map(is_ng).to_numpy())
    index = operating_point.recall_point(swept, min_recall)
    return None if index is None else float(swept["threshold"][index])


def named_causes(
    found: dict[str, Any], ranked: pd.DataFrame, pictures: Pictures, out: Path
) -> list[dict[str, Any]]:
    """Return the named causes with their ``pictures``, which are saved beside the report."""
    named = [cause for cause in found["causes"] if cause["named"]]
    return [
        {
            **cause,
            "pictures": save_examples(ranked, cause, number, pictures, out / FOLDER),
        }
        for number, cause in enumerate(named, start=1)
    ]


def _write_gaps(out: Path, gaps: pd.DataFrame, pictures: Pictures) -> dict[str, Any]:
    """Write the weak samples under both their names; return the seal."""
    write_gaps(out / GAPS, gaps, pictures.workspace)
    link_or_copy(out / GAPS, out / NVIDIA_GAPS)
    return seals(out, {GAPS: len(gaps)})


def affected_labels(labels: dict[str, dict[str, Any]]) -> list[str]:
    """Return the labels with a misclassified part: by missed defects, then by false alarm rate.

    ``labels``: of :func:`label_metrics`. The most come first; between equals the label decides.
    """

    def rank(label: str) -> tuple[int, float, str]:
        found = labels[label]
        wrong = found["n_misclassified"]
        missed = wrong if is_ng(label) else 0
        return -missed, 0.0 if is_ng(label) else -wrong / found["total"], label

    return sorted((label for label in labels if labels[label]["n_misclassified"]), key=rank)


def _unreachable(
    swept: dict[str, np.ndarray], min_recall: float, pictures: Pictures, out: Path
) -> dict[str, Any]:
    best = operating_point.best_recall(swept)
    text = (
        f"no threshold reaches recall {min_recall:.4%}; the highest that can be had is {best:.4%}\n"
    )
    write_text_atomic(out / "unreachable_kpi.txt", text)
    metrics = {"unreachable": True, "min_recall": min_recall, "best_recall": best, "per_label": {}}
    metrics[TABLES] = _write_gaps(out, gaps_table(pd.DataFrame(), pictures), pictures)
    write_json_atomic(out / "metrics.json", metrics)
    return metrics


def write_gaps(path: Path, gaps: pd.DataFrame, workspace: Path | None = None) -> None:
    """Write a gaps parquet; empty tables keep the column types.

    ``workspace``: the root of its paths, for the metadata.
    """
    schema = pa.schema(
        [
            (
                name,
                pa.int64()
                if name == "row"
                else pa.float64()
                if name in ("siamese_score", "weakness")
                else pa.string(),
            )
            for name in GAP_COLUMNS
        ]
    )
    if CAUSES not in gaps:  # written by a version that did not look for them
        gaps = gaps.assign(**{CAUSES: ""})
    table = pa.Table.from_pandas(gaps[list(GAP_COLUMNS)], schema=schema, preserve_index=False)
    table = table.replace_schema_metadata() if workspace is None else with_root(table, workspace)
    replace_atomically(path, lambda p: pq.write_table(table, p))


def label_metrics(
    table: pd.DataFrame, scores: np.ndarray, ng: np.ndarray, threshold: float
) -> dict[str, dict[str, Any]]:
    """Return per label: total, mean/median/max weakness, n_misclassified."""
    weak = weakness(scores, ng, threshold)
    wrong = misclassified(scores, ng, threshold)
    out = {}
    for label in sorted(table["label"].unique()):
        mine = (table["label"] == label).to_numpy()
        out[label] = {
            "total": int(mine.sum()),
            "mean_weakness": float(weak[mine].mean()),
            "median_weakness": float(np.median(weak[mine])),
            "max_weakness": float(weak[mine].max()),
            "n_misclassified": int(wrong[mine].sum()),
        }
    return out


def breakdown_text(metrics: dict[str, Any], weak: pd.DataFrame) -> str:
    """Return ``weak_samples_breakdown.txt``."""
    kept = kept_counts(weak)
    names = ("kept", "misclassified", "marginal")
    lines = [
        "weakness = distance from the threshold on the wrong side; positive = misclassified",
        f"threshold {metrics['threshold']:.8g}; at most {metrics['top_k_per_label']} per label are "
        "kept, of which the misclassified and the marginal ones are counted",
        "",
        f"{'label':<20}{'total':>7}{'kept':>7}{'% of kept':>11}{'misclassified':>15}"
        f"{'marginal':>10}{'mean':>10}{'median':>10}{'max':>10}",
    ]
    for label, m in metrics["per_label"].items():
        share = 0.0
        count = dict.fromkeys(names, 0)
        if label in kept.index:
            share = kept.loc[label, "share_pct"]
            count = {name: int(kept.loc[label, name]) for name in names}
        lines.append(
            f"{label:<20}{m['total']:>7}{count['kept']:>7}{share:>11.1f}"
            f"{count['misclassified']:>15}{count['marginal']:>10}"
            f"{m['mean_weakness']:>10.4f}{m['median_weakness']:>10.4f}{m['max_weakness']:>10.4f}"
        )
    return "\n".join(lines) + "\n"
