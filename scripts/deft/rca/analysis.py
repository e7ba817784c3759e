"""Root-cause analysis of a phase: which KPI samples are weak, and what that suggests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from deft.core.file_names import slugs
from deft.core.files import replace_atomically, write_json_atomic, write_text_atomic
from deft.kpi import operating_point
from deft.kpi.evaluation import point_line
from deft.rca.weakness import misclassified, weak_samples, weakness
from deft.run.roots import with_root
from deft.tables.changenet_table import SCORE_COLUMN, image_name, is_ng, line_of
from deft.tables.coordinates import rooted_folder
from deft.tables.fingerprint import decode
from deft.tables.sealed import TABLES, seals

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
)
GAPS = "kpi_gaps.parquet"
PICTURES_PER_LABEL = 3
SPOT_CHECK = 10


@dataclass(frozen=True)
class Pictures:
    """Where the KPI pictures lie and which lights each part has.

    ``workspace``: the root that their paths are recorded under, see :mod:`deft.run.roots`.
    """

    root: Path
    lights: list[str]
    ext: str
    levels: int | None = None  # full scale of pictures deeper than 8 bits
    workspace: Path | None = None  # inside which absolute cells must lie

    def test(self, row: Any, light: str) -> Path:
        """Return the test picture of a row of the KPI table."""
        return self._file(row, "input_path", light)

    def golden(self, row: Any, light: str) -> Path:
        """Return the golden picture of a row of the KPI table."""
        return self._file(row, "golden_path", light)

    def _file(self, row: Any, column: str, light: str) -> Path:
        line = line_of(row["row"]) if "row" in row else 0
        folder = rooted_folder(row[column], self.root, self.workspace, None, line)
        return folder / image_name(row["object_name"], light, self.ext)


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
    return frame.astype({"siamese_score": float, "weakness": float, "row": "int64"})


def analyse(
    table: pd.DataFrame,
    min_recall: float,
    top_k_per_label: int,
    pictures: Pictures,
    out: Path,
    rows: np.ndarray | None = None,
) -> dict[str, Any]:
    """Write every file of ``rca_results/<TS>/`` and return its ``metrics.json``.

    ``rows``: see :func:`deft.rca.weakness.weak_samples`.
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
    weak = weak_samples(table, threshold, top_k_per_label, rows)
    metrics = {
        "threshold": threshold,
        "precision": point["precision"],
        "recall": point["recall"],
        "f1": point["f1"],
        "confusion": {k: point[k] for k in ("tp", "fp", "tn", "fn")},
        "far_pct": point["far_pct"],
        "min_recall": min_recall,
        "top_k_per_label": top_k_per_label,
        "weak_samples": len(weak),
        "labels": label_metrics(table, scores, ng, threshold),
    }
    write_text_atomic(out / "threshold.txt", f"{threshold!r}\n")
    write_text_atomic(out / "weak_samples_breakdown.txt", breakdown_text(metrics, weak))
    gaps = gaps_table(weak, pictures)
    write_gaps(out / GAPS, gaps, pictures.workspace)
    metrics[TABLES] = seals(out, {GAPS: len(gaps)})
    write_json_atomic(out / "metrics.json", metrics)
    shown = save_pictures(weak, pictures, out / "rca_images")
    report = report_markdown(metrics, point, swept, weak, shown)
    write_text_atomic(out / "RCA_Report.md", report)
    return metrics


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
    write_gaps(out / GAPS, gaps_table(pd.DataFrame(), pictures), pictures.workspace)
    metrics = {"unreachable": True, "min_recall": min_recall, "best_recall": best, "labels": {}}
    metrics[TABLES] = seals(out, {GAPS: 0})
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
    kept = weak["label"].value_counts()
    lines = [
        "weakness = distance from the threshold on the wrong side; positive = misclassified",
        f"threshold {metrics['threshold']:.8g}; at most {metrics['top_k_per_label']} per label",
        "",
        f"{'label':<20}{'total':>7}{'kept':>7}{'wrong':>7}{'mean':>10}{'median':>10}{'max':>10}",
    ]
    lines += [
        f"{label:<20}{m['total']:>7}{int(kept.get(label, 0)):>7}{m['n_misclassified']:>7}"
        f"{m['mean_weakness']:>10.4f}{m['median_weakness']:>10.4f}{m['max_weakness']:>10.4f}"
        for label, m in metrics["labels"].items()
    ]
    return "\n".join(lines) + "\n"


def save_pictures(weak: pd.DataFrame, pictures: Pictures, folder: Path) -> list[dict[str, Any]]:
    """Save test | golden side by side for the weakest samples of each label (first light)."""
    folder.mkdir(parents=True, exist_ok=True)
    shown = []
    light = pictures.lights[0]
    named = slugs(sorted(map(str, weak["label"].unique()))) if len(weak) else {}
    for label, group in weak.groupby("label", sort=True):
        for rank, (_, row) in enumerate(group.head(PICTURES_PER_LABEL).iterrows(), start=1):
            test = decode(pictures.test(row, light), pictures.levels)
            golden = decode(pictures.golden(row, light), pictures.levels).resize(test.size)
            pair = Image.new("RGB", (2 * test.width + 4, test.height), "white")
            pair.paste(test, (0, 0))
            pair.paste(golden, (test.width + 4, 0))
            name = f"{named[str(label)]}_{rank:02d}.png"
            replace_atomically(folder / name, pair.save)
            shown.append(
                {
                    "picture": f"rca_images/{name}",
                    "label": label,
                    "file": image_name(row["object_name"], light, pictures.ext),
                    "score": float(row[SCORE_COLUMN]),
                    "weakness": float(row["weakness"]),
                    "misclassified": bool(row["misclassified"]),
                }
            )
    return shown


def report_markdown(
    metrics: dict[str, Any],
    point: dict[str, Any],
    swept: dict[str, np.ndarray],
    weak: pd.DataFrame,
    shown: list[dict[str, Any]],
) -> str:
    """Return ``RCA_Report.md``, seven sections."""
    quantiles = np.quantile(weak["weakness"], [0, 0.25, 0.5, 0.75, 1]) if len(weak) else []
    confusion = metrics["confusion"]
    worst = sorted(metrics["labels"].items(), key=lambda kv: -kv[1]["max_weakness"])
    lines = ["# Root-cause analysis", "", "## 1 Verdict", ""]
    lines += [
        f"{confusion['fp']} of {confusion['fp'] + confusion['tn']} good parts are rejected and "
        f"{confusion['fn']} of {confusion['fn'] + confusion['tp']} defects missed. "
        f"The weakest label is `{worst[0][0]}`.",
        "",
        "## 2 Threshold selection",
        "",
        point_line(point) + ".",
        f"Chosen among {len(swept['threshold'])} candidates: recall >= "
        f"{metrics['min_recall']:.4%}, then best F1, then precision, then the higher threshold.",
        "",
        "## 3 Weakness distribution",
        "",
        "Minimum, quartiles and maximum of the kept samples (positive = misclassified): "
        + ", ".join(f"{q:.4f}" for q in quantiles)
        + ".",
        "",
        "## 4 Weakest samples per label",
        "",
        "| label | file | score | weakness | misclassified |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {s['label']} | {s['file']} | {s['score']:.4f} | {s['weakness']:.4f} | "
        f"{'yes' if s['misclassified'] else 'no'} |"
        for s in shown
    ]
    lines += ["", "## 5 Spot check", ""]
    lines += [
        "Test picture left, golden right. Mark each: mislabelled / edge case / data quality / "
    ]
    lines[-1] += "systematic."
    lines += [f"- [ ] {s['label']}: ![{s['file']}]({s['picture']})" for s in shown[:SPOT_CHECK]]
    lines += ["", "## 6 Per-label breakdown", ""]
    lines += [
        "| label | total | misclassified | mean | median | max |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {label} | {m['total']} | {m['n_misclassified']} | {m['mean_weakness']:.4f} | "
        f"{m['median_weakness']:.4f} | {m['max_weakness']:.4f} |"
        for label, m in metrics["labels"].items()
    ]
    lines += ["", "## 7 Actions", ""]
    lines += [f"- {action}" for action in actions(metrics)]
    return "\n".join(lines) + "\n"


def actions(metrics: dict[str, Any]) -> list[str]:
    """Return what the numbers suggest, worst first."""
    out = []
    good = {k: m for k, m in metrics["labels"].items() if not is_ng(k)}
    defects = {k: m for k, m in metrics["labels"].items() if is_ng(k)}
    rejected = sum(m["n_misclassified"] for m in good.values())
    weakest = sorted(defects, key=lambda k: -defects[k]["max_weakness"])
    if weakest:
        out.append(
            f"The threshold is set by the lowest-scoring defects, of label `{weakest[0]}`: more of "
            "them in training moves it up."
        )
    if rejected:
        out.append(f"{rejected} good part(s) are rejected: mine good parts that look like them.")
    for label, m in defects.items():
        if m["n_misclassified"]:
            out.append(f"`{label}`: {m['n_misclassified']} missed; check their labels first.")
    return out or ["Nothing is misclassified; confirm on boards that were never used."]
