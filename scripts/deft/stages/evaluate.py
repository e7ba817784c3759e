"""KPI of a phase, from both inference tables."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deft.core.errors import HardStop
from deft.core.files import read_json
from deft.kpi.beside import EVERY_DEFECT, key_line
from deft.kpi.decided import compared_decisions, decisions, decisions_of, threshold_of
from deft.kpi.decision import phase_far_pct
from deft.kpi.evaluation import (
    KINDS,
    Correct,
    evaluate_phase,
    kind_at,
    weights_of,
)
from deft.kpi.flips import Compared
from deft.kpi.views import views_of_phase, views_text
from deft.record.records import read_metrics
from deft.run.stage_files import read, written
from deft.run.state import update_phase
from deft.settings.kpi_target import KpiTarget
from deft.stages.context import Context
from deft.stages.run_tables import kpi_correct, scored_table
from deft.stages.weights import weights_table
from deft.tables.corrections import KPI, WRONG

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Files:
    """What :func:`evaluate` reads and writes; further files go beside each inference table."""

    gate: Path = read("the gate of the run")
    inference: Path = read("inference.json, its tables in folders beside it")
    weights: Path = read("weights.json of the training")
    metrics: Path = written("metrics.json of the phase")
    previous: Path | None = read("metrics.json of the phase before", default=None)
    previous_inference: Path | None = read(
        "its inference.json, its tables in folders beside it", default=None
    )


def evaluate(context: Context, files: Files, phase: str, min_recall: float) -> str:
    """Write ``metrics.json`` and what stands beside each inference table."""
    folder = files.metrics.parent
    for kind in KINDS:
        scored_table(context, files.inference, kind)
    weights = weights_table(files.weights)
    kept = [one.as_dict() for one in context.corrections(KPI)]
    further: dict[str, Any] = {"corrections": kept} if kept else {}
    told = read_json(files.inference)
    scored_with = told.get("corrections", [])
    if kept != scored_with:
        # Laps have begun from the weights that were chosen then: they stay what they are.
        kind = kind_at(folder, min_recall, weights, kpi_correct(context, scored_with))
        further["lineage"] = {"chosen": kind, "weights": weights_of(weights, kind)}
    correct = kpi_correct(context, kept)

    against: Compared | None = None

    def compared(metrics: dict[str, Any], scored: pd.DataFrame) -> dict[str, Any]:
        nonlocal against
        kind = metrics["chosen"]
        table = files.inference.parent / kind / "inference.csv"
        views = views_of_phase(table, files.inference, told, kind, min_recall, correct, scored)
        against = _against(context, files, metrics, correct, scored)
        return {
            **({"score_views": told["score_views"], "views": views} if views else {}),
            **({"against_previous": against.as_dict()} if against else {}),
        }

    metrics = evaluate_phase(folder, phase, min_recall, weights, correct, further, compared)
    chosen = metrics["kinds"][metrics["chosen"]]
    print(key_line(chosen["far_at_recall"][EVERY_DEFECT]), flush=True)
    point = chosen["recall_point"]
    table = files.inference.parent / metrics["chosen"] / "inference.csv"
    update_phase(
        context.run.dir,
        phase,
        stage_completed="evaluate",
        best_ckpt_path=context.absolute(folder / metrics["weights"]["path"]),
        best_ckpt_kind=metrics["chosen"],
        far_pct=point["far_pct"],
        threshold=point["threshold"],
        val_loss=metrics["weights"]["val_loss"],
        inference_csv=context.absolute(table),
    )
    ng = point["tp"] + point["fn"]
    target = _wanted(files.gate.with_name("checks.json"))
    return (
        f"FAR {_before(files.previous)}{_rate(point['far_pct'])}{target} "
        f"at recall {point['recall_pct']:.1f}% "
        f"({point['tp']}/{ng}, proves >= {point['recall_lower95_pct']:.1f}%)"
        + (f" · against the phase before: {against.text()}" if against else "")
        + _corrected(kept)
        + _views(metrics)
        + (" · warning: degenerate, every good part is rejected" if chosen["degenerate"] else "")
    )


def _views(metrics: dict[str, Any]) -> str:
    text = views_text(metrics.get("views", {}))
    return f" · {text}" if text else ""


def _against(
    context: Context,
    files: Files,
    metrics: dict[str, Any],
    correct: Correct | None,
    scored: pd.DataFrame,
) -> Compared | None:
    """Compare the phase with the one before on the same parts, each at its own threshold.

    ``scored``: the phase's chosen inference table.
    """
    if files.previous is None or files.previous_inference is None:
        return None
    before = read_metrics(files.previous)
    earlier = scored_table(context, files.previous_inference, before["chosen"])
    return compared_decisions(
        decisions(earlier, before, correct), decisions_of(scored, threshold_of(metrics))
    )


def _corrected(kept: list[dict[str, Any]]) -> str:
    if not kept:
        return ""
    changed = sum(one["verdict"] == WRONG for one in kept)
    return f" · corrections.csv: {changed} label(s) changed, {len(kept) - changed} row(s) left out"


def _before(previous: Path | None) -> str:
    if previous is None or not previous.exists():
        return ""
    return f"{_rate(phase_far_pct(read_metrics(previous)))} → "


def _rate(pct: float) -> str:
    """Return a rate of some ppm with its digits: it is not 0.00%."""
    return f"{pct:.2g}%" if 0 < pct < 0.01 else f"{pct:.2f}%"


def _wanted(checks: Path) -> str:
    """Return `` (target < 0.1%)`` of the approved run; it is shown, and decides nothing here."""
    with suppress(HardStop):
        kept = read_json(checks)
        told = kept.get("kpi_target") if isinstance(kept, dict) else None
        if isinstance(told, dict) and (target := KpiTarget.from_dict(told)):
            return f" (target {target.bound()}%)"
    return ""
