"""The stop decision: the only thing that the loop's length depends on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deft.core.layout import phase_number
from deft.kpi.flips import BETTER, compared
from deft.settings.kpi_target import KpiTarget
from deft.settings.metric_contract import Contract

# Why a loop ends, or not; "failed" is the state's own word.
KPI_MET, MAX_ITERATIONS, POOL_EXHAUSTED = "kpi_met", "max_iterations", "pool_exhausted"
CUTOFF = "similarity_cutoff"  # new neighbours were found, and min_similarity rejects every one
CONTINUE = "continue"
PROVEN = "proven"  # of best_phase: how the best phase is chosen


@dataclass(frozen=True)
class Judged:
    """What the phases were measured by, where it is not FAR: a contract, and a result of each."""

    contract: Contract
    results: tuple[dict[str, Any], ...]

    def verdict(self, at: int) -> dict[str, Any]:
        """Return what a decision notes of a phase's result."""
        result = self.results[at]
        failed = self.contract.failed(result)
        held = {b.name: self.contract.value_of(result, b) for b in self.contract.constraints}
        return {
            "name": self.contract.primary.name,
            "value": float(result["value"]),
            "unit": self.contract.primary.unit,
            "constraints": held,
            "passed": not failed,
            "failed": [bound.name for bound in failed],
        }


def best_phase(metrics: list[dict[str, Any]], judged: Judged | None = None) -> dict[str, Any]:
    """Return the best phase by the contract; without one that with the lowest FAR at the required
    recall. Ties go to the earlier one.
    """
    if judged is not None:
        return metrics[judged.contract.best(judged.results)]
    return min(metrics, key=lambda m: (phase_far_pct(m), phase_number(m["phase"])))


def proven_phase(rejected: Sequence[np.ndarray], ng: np.ndarray) -> int:
    """Return the place of the best proven phase: a later one only where it is better than the best
    before by McNemar's test.

    ``rejected``: of each phase, bool (n,), at its own threshold; ``ng``: bool (n,), defects.
    """
    best = 0
    for at in range(1, len(rejected)):
        if compared(rejected[best], rejected[at], ng).verdict == BETTER:
            best = at
    return best


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
    metrics: list[dict[str, Any]],
    target: KpiTarget,
    max_iterations: int,
    judged: Judged | None = None,
    proven: int | None = None,
) -> dict[str, Any]:
    """Decide after a phase: stop when the target is met or no lap is left.

    ``metrics`` holds the phases so far, the newest last, ``judged`` their results in this order.
    ``proven``: the place of the best proven phase, where that is handed off.
    """
    lowest = best_phase(metrics, judged)
    newest, best = metrics[-1], lowest if proven is None else metrics[proven]
    met, best_met = target.met(phase_far_pct(newest)), target.met(phase_far_pct(best))
    noted: dict[str, Any] = {}
    if judged is not None:
        now, then = judged.verdict(-1), judged.verdict(metrics.index(best))
        met, best_met = now["passed"], then["passed"]
        contract = judged.contract.as_dict()
        noted = {"metric_contract": contract, "metric": now, "best_metric": then}
    if proven is not None:
        noted |= {"best_by": PROVEN, "lowest_far_phase": lowest["phase"]}
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
        "kpi_met": best_met,
        "best_phase": best["phase"],
        "best_far_pct": phase_far_pct(best),
        **noted,
    }


def stopped_by_cutoff(mining: dict[str, Any]) -> bool:
    """Return whether a lap adds nothing because all its new neighbours lie below the cutoff.

    Where some lie above it, something else (a quota, the history) kept them out.
    """
    rejected = mining.get("rejected")  # absent in records of earlier versions
    if mining["new_rows"] or not rejected:
        return False
    return bool(rejected["rejected"] and rejected["rejected"] == rejected["candidates"])


def decide_pool(mining: dict[str, Any], previous: dict[str, Any], phase: str) -> dict[str, Any]:
    """Decide after mining: stop when it found no new row. The control arm ``none`` goes on."""
    stop = mining["new_rows"] == 0 and mining["strategy"] != "none"
    reason = CONTINUE
    if stop:
        reason = CUTOFF if stopped_by_cutoff(mining) else POOL_EXHAUSTED
    return {
        **previous,
        "stop": stop,
        "reason": reason,
        "phase": phase,
        "new_rows": mining["new_rows"],
    }
