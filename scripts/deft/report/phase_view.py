"""What the templates show of one phase: its status, its card, its evaluation in detail."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deft.core import layout
from deft.record.advice import phase_notes
from deft.record.metric import FAR_GAP, failed_gap, met_of, phase_met
from deft.record.phase_files import PhaseFiles
from deft.record.results import MIN_NG_TO_CERTIFY
from deft.record.run_files import RunFiles
from deft.report import charts
from deft.tables.changenet_table import PASS, is_ng


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


def _proven(results: Mapping[str, Any], phase: str) -> bool:
    return all(results.get(f"{phase}.verdict.proven.{side}") for side in ("far", "recall"))


def _row_proven(files: RunFiles, point: Mapping[str, Any]) -> bool:
    """Return whether both bounds of a row of the recall table reach the target and its recall."""
    recall = point.get("recall_lower95_pct", 0.0) >= point.get("min_recall_pct", 100.0)
    return recall and bool(met_of(files, point.get("far_upper95_pct")))
