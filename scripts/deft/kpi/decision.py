"""The stop decision: the only thing that the loop's length depends on."""

from __future__ import annotations

from typing import Any

from deft.core.layout import phase_number
from deft.settings.kpi_target import KpiTarget

# Why a loop ends, or not; "failed" is the state's own word.
KPI_MET, MAX_ITERATIONS, POOL_EXHAUSTED = "kpi_met", "max_iterations", "pool_exhausted"
CONTINUE = "continue"


def best_phase(metrics: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the phase with the lowest FAR at the required recall; ties go to the earlier one."""
    return min(metrics, key=lambda m: (phase_far_pct(m), phase_number(m["phase"])))


def phase_far_pct(metrics: dict[str, Any]) -> float:
    """Return the FAR (percent) of a phase's chosen weights at the required recall."""
    return float(metrics["kinds"][metrics["chosen"]]["recall_point"]["far_pct"])


def choice_of(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return what a decision notes of its best phase, for the hand-off to compare."""
    return {
        "best_threshold": metrics["kinds"][metrics["chosen"]]["recall_point"]["threshold"],
        "best_weights_sha256": metrics["weights"]["sha256"],
    }


def decide_kpi(
    metrics: list[dict[str, Any]], target: KpiTarget, max_iterations: int
) -> dict[str, Any]:
    """Decide after a phase: stop when the target is met or no lap is left.

    ``metrics`` holds the phases so far, the newest last.
    """
    newest, best = metrics[-1], best_phase(metrics)
    met = target.met(phase_far_pct(newest))
    reason = CONTINUE
    if met:
        reason = KPI_MET
    elif phase_number(newest["phase"]) >= max_iterations:
        reason = MAX_ITERATIONS
    return {
        "stop": reason != CONTINUE,
        "reason": reason,
        "phase": newest["phase"],
        "far_pct": phase_far_pct(newest),
        "target_far_pct": target.far_max_pct,
        "kpi_met": target.met(phase_far_pct(best)),
        "best_phase": best["phase"],
        "best_far_pct": phase_far_pct(best),
    }


def decide_pool(mining: dict[str, Any], previous: dict[str, Any], phase: str) -> dict[str, Any]:
    """Decide after mining: stop when it found no new row. The control arm ``none`` goes on."""
    exhausted = mining["new_rows"] == 0 and mining["strategy"] != "none"
    return {
        **previous,
        "stop": exhausted,
        "reason": POOL_EXHAUSTED if exhausted else CONTINUE,
        "phase": phase,
        "new_rows": mining["new_rows"],
    }
