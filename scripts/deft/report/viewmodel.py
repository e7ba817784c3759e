"""Everything that the templates show, as one dict: names, keys, pictures and charts.

Numbers stay out of it: a template asks for them by key, so that each one carries its key.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deft.core import layout
from deft.kpi.decision import CUTOFF, KPI_MET, MAX_ITERATIONS, POOL_EXHAUSTED
from deft.record.advice import BEST_NOTES, phase_notes, recommendations
from deft.record.breakdown import buckets, groupings
from deft.record.metric import FAR_GAP, failed_gap, key_of, met_of, phase_met
from deft.record.numbers import Numbers
from deft.record.phase_files import PhaseFiles, dig
from deft.record.results import MIN_NG_TO_CERTIFY
from deft.record.run_files import FINAL_AUTOML, RunFiles
from deft.report import charts
from deft.report.doubts import doubts_view
from deft.report.embedding_view import map_view
from deft.report.gallery import gallery_view
from deft.report.instrument import instrument_view
from deft.report.live import live_view
from deft.report.pictures import causes_view, neighbours_view, rca_view, synthetic_pair
from deft.report.proof import acceptance_view, proof_view
from deft.report.thumbs import Thumbnails
from deft.report.verdict import verdict_view
from deft.settings.kpi_target import KpiTarget
from deft.tables.changenet_table import PASS, is_ng

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


def status(met: bool | None, gap_key: str, *, running: bool, proven: bool = True) -> dict[str, Any]:
    """Return the status wording: MET, IN PROGRESS or the gap to the target.

    Green is for what is also ``proven``.
    """
    if met:
        return {"kind": "met" if proven else "measured"}
    if running or met is None:
        return {"kind": "progress"}
    return {"kind": "gap", "key": gap_key}


def judged(
    files: RunFiles,
    phase: PhaseFiles | None,
    met: bool | None,
    key: str,
    results: Mapping[str, Any],
    *,
    running: bool,
) -> dict[str, Any]:
    """Return the status of a phase, by the contract where there is one; ``key``: its numbers'."""
    gap, bound = failed_gap(files, phase) if phase else (FAR_GAP, None)
    # What a contract asks for is a number without bounds: there is nothing more to prove.
    proven = files.contract is not None or _proven(results, key)
    name = f"{phase.name if phase and bound else key}.{gap}"
    found = status(met, name, running=running, proven=proven)
    if bound is not None:
        found |= {"unit": bound.unit, "of": bound.display_name}
    return found


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


def _proven(results: Mapping[str, Any], phase: str) -> bool:
    return all(results.get(f"{phase}.verdict.proven.{side}") for side in ("far", "recall"))


def _row_proven(files: RunFiles, point: Mapping[str, Any]) -> bool:
    """Return whether both bounds of a row of the recall table reach the target and its recall."""
    recall = point.get("recall_lower95_pct", 0.0) >= point.get("min_recall_pct", 100.0)
    return recall and bool(met_of(files, point.get("far_upper95_pct")))


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


def phase_view(files: RunFiles, phase: PhaseFiles, results: Mapping[str, Any]) -> dict[str, Any]:
    """Return one phase: its status, notes and what its card needs."""
    met = phase_met(files, phase)
    weights = phase.metrics.get("weights") or {}
    curves = charts.training_curves(
        phase.curve("train_curve.csv"), phase.curve("validation_curve.csv"), phase.name
    )
    return {
        "name": phase.name,
        "evaluated": phase.far_pct is not None,
        "status": judged(files, phase, met, phase.name, results, running=phase.far_pct is None)
        if files.running or phase.far_pct is not None
        else None,
        "notes": phase_notes(files, phase, met),
        "chosen": phase.chosen if phase.metrics else None,
        "weights": Path(str(weights.get("path", ""))).name or None,
        "kinds": sorted(phase.metrics.get("kinds") or {}),
        "initialised_from": _start(phase.weights.get("initialised_from"), files.name),
        "backbone_from": _start(phase.weights.get("backbone_from"), files.name),
        "curves": curves,
        "trained": bool(phase.weights),
        "mined": bool(phase.mining),
        "strategy": phase.mining.get("strategy"),
        "encoder": _encoder(phase.mining.get("encoder")),
        "warnings": [str(w) for w in phase.mining.get("warnings") or []],
        "assembled": bool(phase.assembly),
        "rca_rows": len(phase.gaps) > 0,
    }


def _start(started: Any, run: str) -> str | None:
    """Return where a phase's first weights came from, short when it is this run."""
    path = started.get("path") if isinstance(started, dict) else started
    return str(path).removeprefix(f"results/{run}/") if path else None


def _encoder(encoder: Any) -> str | None:
    if isinstance(encoder, dict):
        encoder = encoder.get("name") or encoder.get("encoder") or encoder.get("kind")
    return str(encoder) if encoder else None


def focus_view(
    files: RunFiles,
    phase: PhaseFiles,
    results: Mapping[str, Any],
    drawn: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """Return the evaluation of one phase in detail, from ``drawn`` when it is there already."""
    if phase.name not in drawn:
        drawn[phase.name] = _evaluation(files, phase, results)
    return drawn[phase.name]


def _evaluation(files: RunFiles, phase: PhaseFiles, results: Mapping[str, Any]) -> dict[str, Any]:
    table = phase.kind.get("recall_table") or []
    labels = phase.metrics.get("labels") or {}
    curves = [(p.name, p.sweep) for p in _compared(files, phase) if len(p.sweep) > 1]
    scores = None
    if len(phase.scores):
        scores = charts.score_distribution(phase.scores, phase.point.get("threshold"), phase.name)
    return {
        "name": phase.name,
        "degenerate": bool(phase.kind.get("degenerate")),
        "scores": scores,
        "curve": charts.recall_far(curves, files.target.get("far_max_pct")) if curves else None,
        "recall_rows": [
            status(
                met_of(files, point.get("far_pct")),
                f"{phase.name}.recall_table.{i}.gap_pp",
                running=False,
                proven=_row_proven(files, point),
            )
            for i, point in enumerate(table)
        ],
        "defects": [
            _defect(label, content, phase)
            for label, content in sorted(labels.items())
            if is_ng(label)
        ],
        "has_pass": PASS in labels,
        "few_good": results.get(f"{phase.name}.pass", 0) < results.get("certify.min_pass", 0),
    }


def _compared(files: RunFiles, phase: PhaseFiles) -> list[PhaseFiles]:
    first = next((p for p in files.evaluated if p.name == layout.BASELINE), None)
    return [phase] if first is None or first is phase else [phase, first]


def _defect(label: str, content: Mapping[str, Any], phase: PhaseFiles) -> dict[str, Any]:
    count, caught = content.get("count") or 0, content.get("caught")
    if caught is None:
        detectable = "not known"
    elif caught == count:
        detectable = "yes"
    else:
        detectable = "in part" if caught else "no"
    return {
        "label": label,
        "key": f"{phase.name}.labels.{label}",
        "detectable": detectable,
        "too_few": count < MIN_NG_TO_CERTIFY,
    }


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
