"""Which weak samples, neighbours and thresholds the report shows."""

from __future__ import annotations

from typing import Any

from deft.record.run_files import PhaseFiles

WHATIF_STEPS = 40
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


def whatif_rows(phase: PhaseFiles) -> Any:
    """Return at most ``WHATIF_STEPS`` rows of the sweep, the operating point among them."""
    sweep = phase.sweep
    threshold = phase.point.get("threshold")
    if sweep.empty or threshold is None:
        return sweep.head(0)
    last = len(sweep) - 1
    steps = min(WHATIF_STEPS - 1, len(sweep))
    wanted = {round(i * last / max(1, steps - 1)) for i in range(steps)}
    wanted.add(int((sweep["threshold"] - threshold).abs().idxmin()))
    return sweep.iloc[sorted(wanted)]
