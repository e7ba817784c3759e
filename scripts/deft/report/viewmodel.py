"""Everything that the templates show, as one dict: names, keys, pictures and charts.

Numbers stay out of it: a template asks for them by key, so that each one carries its key.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deft.kpi.decision import CUTOFF, KPI_MET, MAX_ITERATIONS, POOL_EXHAUSTED
from deft.record.advice import BEST_NOTES, recommendations
from deft.record.breakdown import buckets, groupings
from deft.record.metric import key_of, phase_met
from deft.record.numbers import Numbers
from deft.record.phase_files import PhaseFiles, dig
from deft.record.results import RECALL_LEVELS
from deft.record.run_files import FINAL_AUTOML, RunFiles
from deft.report import charts
from deft.report.doubts import doubts_view
from deft.report.embedding_view import map_view
from deft.report.gallery import gallery_view
from deft.report.instrument import instrument_view
from deft.report.live import live_view
from deft.report.phase_view import focus_view, judged, phase_view
from deft.report.pictures import causes_view, neighbours_view, rca_view, synthetic_pair
from deft.report.proof import acceptance_view, proof_view
from deft.report.thumbs import Thumbnails
from deft.report.verdict import verdict_view
from deft.settings.kpi_target import KpiTarget
from deft.tables.changenet_table import PASS

REFRESH_S = 60
REASONS = {
    KPI_MET: "The target is met.",
    MAX_ITERATIONS: "The last allowed lap is done.",
    POOL_EXHAUSTED: "Mining found no row that is not yet in the training set.",
    CUTOFF: "Mining found rows that are new to training, and the cutoff rejects every one.",
    "failed": "The run failed before its end.",
}
BEST_WORDS = [words for notes in BEST_NOTES.values() for words in notes]
SOURCES = {"user": "you", "spec": "spec", "default": "default"}


def build_view(
    files: RunFiles, results: Mapping[str, Any], drawn: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Return the view of the whole run.

    ``drawn``: evaluations by phase, shared by the pages of one reading: their charts are dear.
    """
    thumbs = Thumbnails(levels=files.picture_levels)
    best = files.best
    met = phase_met(files, best) if best else None
    rca = best if best is not None and len(best.gaps) else None
    rca = rca or next((p for p in reversed(files.phases) if len(p.gaps)), None)
    mined = next((p for p in reversed(files.phases) if len(p.neighbours)), None)
    synthetic = synthetic_pair(files, thumbs)
    return {
        **_frame(files),
        "refresh_s": REFRESH_S if files.running else None,
        "status": judged(files, best, met, "best", results, running=files.running),
        "live": live_view(files),
        "best": best.name if best else None,
        "verdict": verdict_view(files, best, results, thumbs) if best else None,
        "handed_off": (files.run.dir / "best_model.json").is_file(),
        "int8": dig(files.export, "int8"),
        "reason": REASONS.get(str(files.stop_reason)),
        "hard_stop": files.hard_stop,
        "phases": [phase_view(files, p, results) for p in files.phases],
        "recall_levels": _recall_levels(results),
        "charts": _run_charts(files, results),
        "focus": focus_view(files, best, results, drawn) if best else None,
        "rca": rca_view(files, rca, thumbs) if rca else None,
        "causes": causes_view(rca, thumbs) if rca else None,
        "neighbours": neighbours_view(mined, thumbs) if mined else None,
        "synthetic": synthetic,
        "pool_labels": _pool_labels(files, results),
        "mined_phases": [p.name for p in files.phases if p.mining],
        "instrument": instrument_view(files, best, results) if best else None,
        "gallery": gallery_view(files, results),
        "map": map_view(files),
        "proof": proof_view(files, results),
        "acceptance": acceptance_view(files),
        "breakdown": _breakdown(files, best) if best else None,
        "recommendations": recommendations(files, results, bool(met)),
        "parameters": [_parameter(p, results) for p in files.parameters],
        "timings": _timings(files, results),
        "warnings": _preflight_warnings(files),
        "damaged": _damaged(files),
        "doubts": doubts_view(files, files.picture_levels),
        "final_automl": final_automl(files),
    }


def _recall_levels(results: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the recalls beside the target's own at which the phases' table has FAR."""
    return [
        {"pct": f"recall_levels.{name}_pct", "far": f"far_at_recall_{level}"}
        for name, level in zip(("high", "low"), RECALL_LEVELS, strict=True)
        if results[f"recall_levels.{name}_pct"] != results.get("target.min_recall_pct")
    ]


def final_automl(files: RunFiles) -> dict[str, Any] | None:
    """Return what NVIDIA's AutoML sweep after the loop left in the state, or None."""
    entry = dig(files.state, "iterations", FINAL_AUTOML)
    if not isinstance(entry, dict):
        return None
    return {"weights": Path(str(entry.get("best_ckpt_path") or "")).name}


def build_phase_view(
    files: RunFiles, name: str, results: Mapping[str, Any], drawn: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Return the view of one phase; nothing in it changes when later phases follow.

    ``drawn``: see :func:`build_view`.
    """
    phase = next((p for p in files.phases if p.name == name), None)
    if phase is None:
        raise ValueError(f"phase {name!r} has no files in {files.run.dir}")
    thumbs = Thumbnails(levels=files.picture_levels)
    rca = phase if len(phase.gaps) else None
    view = phase_view(files, phase, results)
    view["notes"] = [n for n in view["notes"] if n[0] not in BEST_WORDS]
    return {
        **_frame(files),
        "refresh_s": None,
        "phase": view,
        "status": view["status"],
        "focus": focus_view(files, phase, results, drawn) if phase.point else None,
        "rca": rca_view(files, rca, thumbs) if rca else None,
        "causes": causes_view(rca, thumbs) if rca else None,
        "neighbours": neighbours_view(phase, thumbs) if len(phase.neighbours) else None,
    }


def _frame(files: RunFiles) -> dict[str, Any]:
    classify = dig(files.spec, "dataset", "classify") or {}
    counted = (p.metrics["counts"] for p in files.phases if p.metrics.get("counts"))
    counts: dict[str, Any] = next(counted, {})
    labels = counts.get("labels")
    if labels is None:
        labels = files.kpi_labels
    target = KpiTarget.from_dict(files.target)
    return {
        "run": files.name,
        "target": {
            "canonical": target.canonical() if target else None,
            "sentence": files.target.get("sentence"),
            "sign": "<" if files.target.get("strict", True) else "≤",
        },
        "metric": _metric(files),
        "arm": files.arm,
        "control_arm": files.arm in ("random", "none"),
        "running": files.running,
        "backbone": dig(files.spec, "model", "backbone", "type"),
        "difference": dig(files.spec, "model", "classify", "difference_module"),
        "lights": list(classify.get("input_map") or {}),
        "labels": sorted(labels, key=lambda name: (name != PASS, name)),
        "started_at": files.state.get("started_at"),
    }


def _metric(files: RunFiles) -> dict[str, Any] | None:
    """Return what the metric contract asks for; None where FAR decides."""
    contract = files.contract
    if contract is None:
        return None
    bounds = [
        {"key": key_of(b, contract.primary), "name": b.display_name, "unit": b.unit}
        | {"operator": b.operator}
        for b in contract.bounds
    ]
    by = contract.evaluator.get("path") or contract.evaluator.get("producer")
    return {"told": contract.told(), "bounds": bounds, "by": by}


def _breakdown(files: RunFiles, phase: PhaseFiles) -> dict[str, Any]:
    numbers = Numbers()  # they are in the results already
    target = KpiTarget.from_dict(files.target)
    return {
        "groupings": groupings(phase, target, numbers),
        "buckets": buckets(phase, numbers),
    }


def _run_charts(files: RunFiles, results: Mapping[str, Any]) -> dict[str, Any]:
    done = [p.name for p in files.evaluated]
    grown = [p.name for p in files.phases if f"{p.name}.dataset.rows" in results]
    out: dict[str, Any] = {"far": None, "growth": None}
    if done:
        out["far"] = charts.far_by_phase(
            done,
            [results[f"{n}.far_pct"] for n in done],
            [results.get(f"{n}.far_upper95_pct") for n in done],
            results.get("target.far_max_pct"),
        )
    if grown:
        sdg = [results.get(f"{n}.dataset.sdg_rows", 0) for n in grown]
        real = [results[f"{n}.dataset.rows"] - s for n, s in zip(grown, sdg, strict=True)]
        out["growth"] = charts.training_growth(grown, real, sdg)
    return out


def _pool_labels(files: RunFiles, results: Mapping[str, Any]) -> list[str]:
    names = set()
    for key in results:
        if ".labels." in key and key.rpartition(".")[2] in ("real", "sdg"):
            names.add(key.partition(".labels.")[2].rpartition(".")[0])
    return sorted(names, key=lambda name: (name != PASS, name))


def _parameter(parameter: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
    name = str(parameter.get("name"))
    key = f"param.{name}"
    value = parameter.get("value")
    numeric = key in results and not isinstance(value, bool)
    text = {True: "yes", False: "no"}.get(value) if isinstance(value, bool) else str(value)
    if isinstance(value, list):
        text = ", ".join(str(v) for v in value)
    source = str(parameter.get("source", ""))
    return {
        "name": name,
        "key": key if numeric else None,
        "text": "not set" if value in (None, "", []) else text,
        "source": SOURCES.get(source, source),
    }


def _timings(files: RunFiles, results: Mapping[str, Any]) -> dict[str, Any]:
    order: list[str] = []
    for entry in files.log:
        stage = str(entry.get("stage"))
        if stage not in order and stage not in ("preflight", "loop_stop"):
            order.append(stage)
    phases = [p.name for p in files.phases if f"{p.name}.duration_seconds" in results]
    return {"stages": order, "phases": phases}


def _damaged(files: RunFiles) -> list[str]:
    """Return the files that were left out because they are damaged; read last, when all are."""
    return list(getattr(files.reader, "damaged", ()))


def _preflight_warnings(files: RunFiles) -> list[dict[str, str]]:
    return [
        {"id": str(c.get("id")), "evidence": str(c.get("evidence") or "")}
        for c in files.checks.get("checks") or []
        if isinstance(c, dict) and c.get("status") == "warn"
    ]
