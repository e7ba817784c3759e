"""KPI of a phase, the stop decision, root-cause analysis and routing: the light stages."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deft.core import layout
from deft.core.errors import HardStop
from deft.core.files import read_json, sha256_file, write_json_atomic, write_text_atomic
from deft.core.layout import phase_name, phase_number, previous_phase
from deft.kpi.decision import best_phase, choice_of, decide_kpi, decide_pool, phase_far_pct
from deft.kpi.evaluation import KINDS, evaluate_phase, read_scores
from deft.kpi.operating_point import parse_kpi
from deft.pool.source_pool import check_pregen_unchanged
from deft.rca.analysis import GAPS, Pictures, affected_labels, analyse, write_gaps
from deft.rca.routing import Routes, route_by_label, route_pregen, summary_text
from deft.record.records import read_decision, read_metrics
from deft.run.state import update_phase
from deft.settings.kpi_target import KpiTarget
from deft.stages.context import ROUTING_RECORD, Context
from deft.tables.sealed import TABLES, read_parquet, seals


def evaluate(context: Context, phase: str, min_recall: float) -> str:
    """Write ``metrics.json`` and what stands beside each inference table."""
    folder = context.run.phase(phase)
    for kind in KINDS:
        context.scored_table(phase, kind)
    metrics = evaluate_phase(folder, phase, min_recall, context.weights_table(phase))
    point = metrics["kinds"][metrics["chosen"]]["recall_point"]
    update_phase(
        context.run.dir,
        phase,
        stage_completed="evaluate",
        best_ckpt_path=str(context.root / context.relative(folder / metrics["weights"]["path"])),
        best_ckpt_kind=metrics["chosen"],
        far_pct=point["far_pct"],
        threshold=point["threshold"],
        val_loss=metrics["weights"]["val_loss"],
        inference_csv=str(
            context.root
            / context.relative(folder / "inference" / metrics["chosen"] / "inference.csv")
        ),
    )
    ng = point["tp"] + point["fn"]
    degenerate = metrics["kinds"][metrics["chosen"]]["degenerate"]
    return (
        f"FAR {_before(context, phase)}{_rate(point['far_pct'])}{_wanted(context.run)} "
        f"at recall {point['recall_pct']:.1f}% "
        f"({point['tp']}/{ng}, proves >= {point['recall_lower95_pct']:.1f}%)"
        + (" · warning: degenerate, every good part is rejected" if degenerate else "")
    )


def _before(context: Context, phase: str) -> str:
    if phase == layout.BASELINE:
        return ""
    path = context.run.phase(previous_phase(phase)) / "metrics.json"
    if not path.exists():
        return ""
    return f"{_rate(phase_far_pct(read_metrics(context.run, previous_phase(phase))))} → "


def _rate(pct: float) -> str:
    """Return a rate of some ppm with its digits: it is not 0.00%."""
    return f"{pct:.2g}%" if 0 < pct < 0.01 else f"{pct:.2f}%"


def _wanted(run: layout.Run) -> str:
    """Return `` (target < 0.1%)`` of the approved run; it is shown, and decides nothing here."""
    with suppress(HardStop):
        kept = read_json(run.preflight / "checks.json")
        told = kept.get("kpi_target") if isinstance(kept, dict) else None
        if isinstance(told, dict) and (target := KpiTarget.from_dict(told)):
            return f" (target {target.bound()}%)"
    return ""


def decide(
    context: Context, phase: str, question: str, kpi_sentence: str, max_iterations: int
) -> str:
    """Write ``decide/<question>.json`` and mark the phase completed."""
    folder = context.run.phase(phase)
    if question == "kpi":
        upto = [phase_name(n) for n in range(phase_number(phase) + 1)]
        metrics = [read_metrics(context.run, p) for p in upto]
        decision = decide_kpi(metrics, parse_kpi(kpi_sentence), max_iterations)
        decision |= choice_of(best_phase(metrics))
        update_phase(context.run.dir, phase, status="completed")
    else:
        before = context.run.phase(previous_phase(phase)) / "decide" / "kpi.json"
        previous = read_decision(before)
        mining = read_json(folder / "mining_filter" / "mining.json")
        decision = decide_pool(mining, previous, phase)
    write_json_atomic(folder / "decide" / f"{question}.json", decision)
    return f"{decision['reason']} (best so far {decision['best_phase']})"


def rca(
    context: Context, phase: str, min_recall: float, top_k: int, rows: np.ndarray | None = None
) -> str:
    """Write ``rca_results/<TS>/`` of a phase; ``rows``: see deft.rca.weakness.weak_samples."""
    metrics = read_metrics(context.run, phase)
    table = context.scored_table(phase, metrics["chosen"])
    out = context.run.rca(phase)
    pictures = Pictures(
        context.root / context.relative(context.image_root),
        context.lights,
        context.ext,
        context.picture_levels,
        context.root,
    )
    found = analyse(read_scores(table), min_recall, top_k, pictures, out, rows)
    if found.get("unreachable"):
        raise HardStop(
            "kpi_invalid",
            f"no threshold reaches recall {min_recall:.4%}; best {found['best_recall']:.4%}",
            file=table,
        )
    wrong = {k: m["n_misclassified"] for k, m in found["labels"].items() if m["n_misclassified"]}
    update_phase(
        context.run.dir,
        phase,
        stage_completed="rca",
        rca_target_defects=affected_labels(found["labels"]),
        rca_gaps_parquet=str(context.root / context.relative(out / "kpi_gaps.parquet")),
        rca_threshold=found["threshold"],
    )
    shown = ", ".join(f"{k} {n}" for k, n in wrong.items()) or "nothing"
    return f"{found['weak_samples']} weak samples; misclassified: {shown}"


def route(context: Context, phase: str, mode: str, drawn: list[str], allowed: list[str]) -> str:
    """Write ``routing_results/<TS>/`` of a lap from the previous phase's gaps."""
    record = context.run.rca(previous_phase(phase)) / "metrics.json"
    manifest = read_json(context.run.synth_pool / "manifest.json")

    def routed(gaps: pd.DataFrame) -> Routes:
        if mode == "pregen":
            return route_pregen(gaps)
        return route_by_label(gaps, set(manifest["labels"]), drawn, allowed)

    def explain(path: Path) -> None:  # by its labels; damage and places are the seal's to tell
        try:
            gaps = read_parquet(path)
        except HardStop:
            return
        routed(gaps)

    path = context.checked_by(record, GAPS, rule="rca", explain=explain)
    routes = routed(context.paths_here(read_parquet(path), path))
    out = context.run.routing(phase)
    routed_to = {"mining_gaps.parquet": routes.mining, "anomalygen_gaps.parquet": routes.anomalygen}
    for name, rows in routed_to.items():
        write_gaps(out / name, rows, context.root)
    # No declared output: a run of an earlier version has none, and must not be routed again.
    tables = seals(out, {name: len(rows) for name, rows in routed_to.items()})
    write_json_atomic(out / ROUTING_RECORD, {"schema_version": 1, TABLES: tables})
    write_text_atomic(out / "routing_summary.txt", summary_text(routes, mode))
    drawn_path = out / "anomalygen_gaps.parquet"
    update_phase(
        context.run.dir,
        phase,
        status="running",
        stage_completed="routing",
        routing_mining_parquet=str(context.root / context.relative(out / "mining_gaps.parquet")),
        routing_anomalygen_parquet=None
        if mode == "pregen"
        else str(context.root / context.relative(drawn_path)),
    )
    return f"{len(routes.mining)} gaps to mining, {len(routes.anomalygen)} to AnomalyGen ({mode})"


def ingest(context: Context, phase: str) -> str:
    """Write ``anomalygen/ingest_summary.json``: the manifest in use, and that nothing changed."""
    path = context.run.synth_pool / "manifest.json"
    manifest: dict[str, Any] = read_json(path)
    check_pregen_unchanged(context.workspace, manifest, path)
    out = context.run.phase(phase) / "anomalygen" / "ingest_summary.json"
    write_json_atomic(
        out,
        {
            "manifest": context.relative(path),
            "manifest_sha256": sha256_file(path),
            "counts": manifest["counts"],
            "sdg_per_defect": manifest["sdg_per_defect"],
            "pregen_unchanged": True,
        },
    )
    update_phase(
        context.run.dir,
        phase,
        stage_completed="anomalygen",
        anomalygen_ingest=str(context.root / context.relative(out)),
    )
    return f"{manifest['counts']['sdg_rows']} pre-generated rows, unchanged since the run began"
