"""What a run's metric contract says of its phases; without one FAR speaks (`kpi`)."""

from __future__ import annotations

from typing import Any

from deft.record.phase_files import PhaseFiles
from deft.record.run_files import RunFiles
from deft.settings.kpi_target import KpiTarget
from deft.settings.metric_contract import Bound

FAR_GAP = "gap_pp"


def met_of(files: RunFiles, far_pct: float | None) -> bool | None:
    """Return whether a FAR meets the target; None when either is unknown."""
    target = KpiTarget.from_dict(files.target)
    return target.met(far_pct) if target and far_pct is not None else None


def result_of(files: RunFiles, phase: PhaseFiles) -> dict[str, Any] | None:
    """Return a phase's answer to the contract, or None: none given, none needed, or unsound."""
    contract = files.contract
    if contract is None or not phase.metric_result or contract.check(phase.metric_result):
        return None
    return phase.metric_result


def phase_met(files: RunFiles, phase: PhaseFiles) -> bool | None:
    """Return whether a phase meets what the run is judged by; None before that is known."""
    if files.contract is None:
        return met_of(files, phase.far_pct)
    result = result_of(files, phase)
    return None if result is None else not files.contract.failed(result)


def key_of(bound: Bound, first: Bound) -> str:
    """Return the part of a key that names a bound of the contract whose metric is ``first``."""
    return "metric" if bound is first else f"metric.constraints.{bound.name}"


def failed_gap(files: RunFiles, phase: PhaseFiles) -> tuple[str, Bound | None]:
    """Return the key, below the phase, of the gap to show, and the bound that it belongs to."""
    result = result_of(files, phase)
    if files.contract is None or result is None:
        return FAR_GAP, None
    failed = files.contract.failed(result)
    bound = failed[0] if failed else files.contract.primary
    return f"{key_of(bound, files.contract.primary)}.gap", bound
