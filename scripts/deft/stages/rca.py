"""Root-cause analysis: the weak samples of a phase and what they have in common."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deft.core.errors import HardStop
from deft.kpi.evaluation import KINDS, read_scores
from deft.rca.analysis import affected_labels, analyse, threshold_of
from deft.rca.spot_check import Pictures
from deft.record.records import read_metrics
from deft.run.stage_files import read, written
from deft.run.state import update_phase
from deft.stages.causes import Sources, causes_of
from deft.stages.context import Context
from deft.stages.run_tables import Assembled, kpi_correct, scored_table


@dataclass(frozen=True)
class Files:
    """What :func:`rca` reads and writes."""

    metrics: Path = read("metrics.json of the phase")
    inference: Path = read("inference.json, its tables in folders beside it")
    gaps: Path = written(
        "kpi_gaps.parquet; gaps.parquet (a link), threshold.txt, RCA_Report.md, … beside it"
    )
    parts: Path | None = read("parts.parquet, facts of the KPI and base parts", default=None)
    parts_record: Path | None = read("parts.json, which seals them", default=None)
    assembled: Path | None = read("assembly.json of the phase", default=None)
    combined: Path | None = read("its training table", default=None)
    provenance: Path | None = read("its provenance", default=None)
    causes: Path | None = written("causes.json, causes.csv beside it", default=None)


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
        context.goldens.count,
    )
    correct = kpi_correct(context, metrics.get("corrections", []))
    scores = read_scores(table, correct)
    causes = None
    threshold = threshold_of(scores, min_recall)
    if threshold is not None and files.causes and files.parts and files.parts_record:
        own = Assembled.of(files.assembled, files.combined, files.provenance)
        other = next(kind for kind in KINDS if kind != metrics["chosen"])
        others = read_scores(scored_table(context, files.inference, other), correct)
        sources = Sources(files.parts, files.parts_record, own)
        causes = causes_of(context, sources, scores, threshold, others, files.causes)
    told = (causes.found, causes.cells) if causes else None
    found = analyse(scores, min_recall, top_k, pictures, files.gaps.parent, rows, told)
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
    text = f"{found['weak_samples']} weak samples; misclassified: {shown}"
    if causes is None:
        return text
    return f"{text}; causes named: {', '.join(causes.found['named']) or 'none'}"
