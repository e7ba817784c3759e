"""The best proven phase beside the lowest FAR."""

from __future__ import annotations

import numpy as np

from deft.kpi.decision import decide_kpi, proven_phase
from deft.settings.kpi_target import parse_kpi

NG = np.arange(120) >= 100


def rejecting(good: int, missed: int = 0) -> np.ndarray:
    found = NG.copy()
    found[:good] = True
    found[100 : 100 + missed] = False
    return found


def test_a_later_phase_is_best_where_it_is_proven_better_than_the_best_before() -> None:
    assert proven_phase([rejecting(20), rejecting(17)], NG) == 0  # three parts tell nothing
    assert proven_phase([rejecting(20), rejecting(14)], NG) == 1
    # Small steps add up: each is compared with the best proven, not with the one before it.
    steps = [rejecting(20), rejecting(17), rejecting(14)]
    assert proven_phase(steps, NG) == 2
    assert proven_phase([rejecting(20), rejecting(2, missed=8)], NG) == 0  # paid with defects
    assert proven_phase([rejecting(5), rejecting(30)], NG) == 0


def metrics(phase: str, far: float) -> dict:
    point = {"far_pct": far, "threshold": 0.5}
    kinds = {"best_val": {"recall_point": point}}
    return {
        "phase": phase,
        "chosen": "best_val",
        "kinds": kinds,
        "weights": {"sha256": f"{far:064}"},
    }


def test_both_are_told_and_the_stop_rule_stays() -> None:
    phases = [metrics("baseline", 20.0), metrics("iter1", 17.0)]
    target = parse_kpi("FAR < 18% at recall=100%")
    usual = decide_kpi(phases, target, 3)
    proven = decide_kpi(phases, target, 3, None, 0)
    assert usual["best_phase"] == "iter1" and "best_by" not in usual and usual["kpi_met"]
    assert proven["best_phase"] == "baseline" and proven["best_far_pct"] == 20.0
    assert proven["best_by"] == "proven" and proven["lowest_far_phase"] == "iter1"
    assert (proven["stop"], proven["reason"]) == (usual["stop"], usual["reason"])
    assert proven["kpi_met"] is False  # of what is handed off
