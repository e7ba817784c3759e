"""Where the weak samples of a phase go: to mining and to AnomalyGen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from deft.core.errors import HardStop
from deft.core.files import read_json, write_json_atomic, write_text_atomic
from deft.core.reading import check_shape
from deft.rca.analysis import write_gaps
from deft.rca.routing import Routes, route_by_label, route_pregen, summary_text
from deft.rca.routing_report import Routing, report_markdown
from deft.run.stage_files import read, written
from deft.run.state import update_phase
from deft.run.state_format import IN_PROGRESS
from deft.stages.context import Context, damaged
from deft.stages.run_tables import ROUTING_RECORD
from deft.tables.sealed import TABLES, read_parquet, seals


@dataclass(frozen=True)
class Files:
    """What :func:`route` reads and writes."""

    gaps: Path = read("kpi_gaps.parquet of the phase before")
    analysis: Path = read("metrics.json of that analysis, which seals the gaps")
    manifest: Path = read("manifest.json of the staged pool")
    mining: Path = written("the gaps that are mined for")
    anomalygen: Path = written("the gaps that pictures are generated for")
    summary: Path = written("routing_summary.txt")
    report: Path = written("Routing_Report.md")


def route(
    context: Context, files: Files, phase: str, mode: str, drawn: list[str], allowed: list[str]
) -> str:
    """Write the routed gaps of a lap from the previous phase's."""
    pool = pool_labels(files.manifest)

    def routed(gaps: pd.DataFrame) -> Routes:
        if mode == "pregen":
            return route_pregen(gaps)
        return route_by_label(gaps, set(pool), drawn, allowed)

    def explain(path: Path) -> None:  # by its labels; damage and places are the seal's to tell
        try:
            gaps = read_parquet(path)
        except HardStop:
            return
        routed(gaps)

    path = context.checked_by(files.analysis, files.gaps.name, rule="rca", explain=explain)
    routes = routed(context.paths_here(read_parquet(path), path))
    write_gaps(files.mining, routes.mining, context.root)
    write_gaps(files.anomalygen, routes.anomalygen, context.root)
    # No declared output: a run of an earlier version has none, and must not be routed again.
    record = files.mining.with_name(ROUTING_RECORD)
    rows = {
        files.mining.name: len(routes.mining),
        files.anomalygen.name: len(routes.anomalygen),
    }
    write_json_atomic(record, {"schema_version": 1, TABLES: seals(record.parent, rows)})
    paths = {
        "gaps": context.relative(files.gaps),
        "source_pool": context.relative(files.manifest.with_name("source_pool.csv")),
        "mining": context.relative(files.mining),
        "anomalygen": context.relative(files.anomalygen),
    }
    summary = summary_text(routes, mode, paths["mining"], paths["anomalygen"])
    write_text_atomic(files.summary, summary)
    told = Routing(routes, mode, pool, drawn, paths)
    write_text_atomic(files.report, report_markdown(told))
    update_phase(
        context.run.dir,
        phase,
        status=IN_PROGRESS,
        stage_completed="routing",
        routing_mining_parquet=context.absolute(files.mining),
        routing_anomalygen_parquet=None if mode == "pregen" else context.absolute(files.anomalygen),
    )
    return f"{len(routes.mining)} gaps to mining, {len(routes.anomalygen)} to AnomalyGen ({mode})"


def pool_labels(manifest: Path) -> dict[str, int]:
    """Return label -> parts of the staged pool."""
    labels: dict[str, int] = read_json(manifest, {"labels": {}})["labels"]
    problem = check_shape(labels, dict.fromkeys(labels, int), "labels")
    if problem:
        raise damaged(manifest, problem)
    return labels
