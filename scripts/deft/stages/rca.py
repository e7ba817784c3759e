"""Root-cause analysis: the weak samples of a phase and what they have in common."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deft.core.errors import HardStop
from deft.kpi.evaluation import read_scores
from deft.rca.analysis import affected_labels, analyse
from deft.rca.spot_check import Pictures
from deft.record.records import read_metrics
from deft.run.stage_files import read, written
from deft.run.state import update_phase
from deft.stages.context import Context
from deft.stages.run_tables import kpi_correct, scored_table


@dataclass(frozen=True)
class Files:
    """What :func:`rca` reads and writes."""

    metrics: Path = read("metrics.json of the phase")
    inference: Path = read("inference.json, its tables in folders beside it")
    gaps: Path = written(
        "kpi_gaps.parquet; gaps.parquet (a link), threshold.txt, RCA_Report.md, … beside it"
    )


def rca(
    context: Context,
    files: Files,
    phase: str,
    min_recall: float,
    top_k: int,
    rows: np.ndarray | None = None,
) -> str:
    """Write the analysis of a phase; ``rows``: see :func:`deft.rca.weakness.weak_samples`."""
    metrics = read_metrics(files.metrics)
    table = scored_table(context, files.inference, metrics["chosen"])
    pictures = Pictures(
        context.root / context.relative(context.image_root),
        context.lights,
        context.ext,
        context.picture_levels,
        context.root,
    )
    scores = read_scores(table, kpi_correct(context, metrics.get("corrections", [])))
    found = analyse(scores, min_recall, top_k, pictures, files.gaps.parent, rows)
    if found.get("unreachable"):
        raise HardStop(
            "kpi_invalid",
            f"no threshold reaches recall {min_recall:.4%}; best {found['best_recall']:.4%}",
            file=table,
        )
    wrong = {k: m["n_misclassified"] for k, m in found["per_label"].items() if m["n_misclassified"]}
    update_phase(
        context.run.dir,
        phase,
        stage_completed="rca",
        rca_target_defects=affected_labels(found["per_label"]),
        rca_gaps_parquet=context.absolute(files.gaps),
        rca_threshold=found["threshold"],
    )
    shown = ", ".join(f"{k} {n}" for k, n in wrong.items()) or "nothing"
    return f"{found['weak_samples']} weak samples; misclassified: {shown}"
