"""The named root causes of a phase, as its record holds them, for figures and pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deft.causes.find import WORDS
from deft.core.reading import check_shape
from deft.record.phase_files import PhaseFiles

FIGURES = {"wrong": int, "flagged_wrong": int, "share_pct": float, "p_corrected": float}
CAUSE = {"id": str, "kind": str, "title": str, "cure": str, "named": bool, "examples": [int]}


@dataclass(frozen=True)
class NamedCause:
    """A cause and, for each side that it goes with, its figures; ``key``: theirs in `results`."""

    key: str
    cause: dict[str, Any]
    sides: dict[str, dict[str, Any]]


def looked_for(phase: PhaseFiles) -> bool:
    """Return whether the phase's analysis looked for causes."""
    return isinstance(phase.causes.get("causes"), list)


def named_causes(phase: PhaseFiles) -> list[NamedCause]:
    """Return the named causes, the surest first; entries of another shape are left out."""
    found: list[NamedCause] = []
    level = phase.causes.get("level")
    for cause in phase.causes["causes"] if looked_for(phase) else ():
        if check_shape(cause, CAUSE) or not cause["named"] or not isinstance(level, float):
            continue
        sides = {
            side: counted
            for side in WORDS
            if not check_shape(counted := cause.get(side), FIGURES)
            and counted["p_corrected"] < level
        }
        found.append(NamedCause(f"{phase.name}.causes.{len(found)}", cause, sides))
    return found
