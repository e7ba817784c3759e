"""Which weak samples and neighbours the report shows."""

from __future__ import annotations

from typing import Any

from deft.record.phase_files import PhaseFiles

WEAK_SHOWN = 8
TARGETS_SHOWN = 3
NEIGHBOURS_SHOWN = 4


def weak_parts(phase: PhaseFiles) -> Any:
    """Return the weak samples, weakest first, one line per part (not per light)."""
    gaps = phase.gaps
    order = [c for c in ("weakness", "filepath") if c in gaps]
    ranked = gaps.sort_values(order, ascending=[False, True][: len(order)], kind="stable")
    return ranked.drop_duplicates("row") if "row" in ranked else ranked


def shown_weak_parts(phase: PhaseFiles) -> Any:
    """Return the weak samples that the report shows: of each label in turn the weakest."""
    ranked = weak_parts(phase)
    turn = ranked.groupby("label").cumcount()
    picked = ranked.assign(_turn=turn.to_numpy()).sort_values(
        ["_turn", "weakness"], ascending=[True, False], kind="stable"
    )
    return picked.head(WEAK_SHOWN).sort_values("weakness", ascending=False, kind="stable")


def shown_neighbours(phase: PhaseFiles) -> list[tuple[str, Any]]:
    """Return ``(target, its nearest pool pictures)`` of the targets that the report shows."""
    pairs = phase.neighbours
    if not {"target", "source", "rank", "similarity"} <= set(pairs.columns) or pairs.empty:
        return []
    best = pairs.groupby("target")["similarity"].max().sort_index()
    targets = best.sort_values(ascending=False, kind="stable").index[:TARGETS_SHOWN]
    groups = []
    for target in targets:
        group = pairs[pairs["target"] == target].sort_values("rank", kind="stable")
        groups.append((str(target), group.head(NEIGHBOURS_SHOWN)))
    return groups
