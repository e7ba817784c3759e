"""Which parts the gallery shows: what a lap decided wrongly, and what lies near the threshold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from deft.record.phase_files import PhaseFiles
from deft.record.run_files import RunFiles
from deft.tables.changenet_table import is_ng

MOST_PARTS = 400  # pictures of parts and lights; beyond it the worst are shown
NEAR_SHOWN = 12  # right decisions of the best phase on either side, for another threshold


@dataclass
class Failures:
    """Rows of the KPI table and what every lap makes of them."""

    phases: list[PhaseFiles]
    thresholds: list[float]
    table: pd.DataFrame  # the KPI table, with the best phase's columns
    scores: pd.DataFrame  # row of the KPI table × phase, float32; NaN where a phase lacks it
    shown: list[int]  # rows, worst first
    failing: int  # rows that any lap decided wrongly
    flips: dict[str, tuple[int, int]]  # by phase: rows fixed and broken against the one before

    @property
    def shown_failing(self) -> int:
        """How many of the failing rows are shown."""
        return min(len(self.shown), self.failing)


def failures_of(
    files: RunFiles, thresholds: Mapping[str, float | None], lights: int
) -> Failures | None:
    """Return the parts to show, or None before the first evaluation.

    ``thresholds``: of each phase, to decide by. Worst first: the best phase's failures by their
    distance from the threshold, then those of the other laps, the newest first.
    """
    best = files.best
    told = [p for p in files.evaluated if thresholds.get(p.name) is not None and len(p.scores)]
    if best is None or best not in told:
        return None
    cuts = [float(thresholds[p.name] or 0) for p in told]
    scores = pd.DataFrame(
        {p.name: p.scores["siamese_score"].astype(np.float32) for p in told}
    ).reindex(best.scores.index)
    ng = best.scores["label"].astype(str).map(is_ng).to_numpy(bool)
    wrong, depth = {}, {}
    for phase, cut in zip(told, cuts, strict=True):
        values = scores[phase.name].to_numpy(np.float32)
        known = ~np.isnan(values)
        wrong[phase.name] = known & ((values > np.float32(cut)) != ng)
        depth[phase.name] = np.abs(values.astype(np.float64) - cut)
    order: list[int] = []
    for phase in [best, *(p for p in reversed(told) if p is not best)]:
        rows = np.flatnonzero(wrong[phase.name])
        order += rows[np.argsort(-depth[phase.name][rows], kind="stable")].tolist()
    failing = list(dict.fromkeys(order))
    room = max(1, MOST_PARTS // max(1, lights))
    near = _near(depth[best.name], wrong[best.name], scores[best.name].to_numpy() > cuts_of(
        told, cuts, best
    ))  # fmt: skip
    shown = list(dict.fromkeys([*failing[: room - len(near)], *near]))
    flips = {
        now.name: (
            int((wrong[before.name] & ~wrong[now.name]).sum()),
            int((wrong[now.name] & ~wrong[before.name]).sum()),
        )
        for before, now in pairwise(told)
    }
    return Failures(told, cuts, best.scores, scores, shown, len(failing), flips)


def cuts_of(phases: list[PhaseFiles], cuts: list[float], phase: PhaseFiles) -> float:
    """Return the threshold of one of the phases."""
    return cuts[phases.index(phase)]


def _near(depth: np.ndarray, wrong: np.ndarray, above: np.ndarray) -> list[int]:
    out: list[int] = []
    for side in (above, ~above):
        rows = np.flatnonzero(side & ~wrong)
        out += rows[np.argsort(depth[rows], kind="stable")][:NEAR_SHOWN].tolist()
    return out


def text_of(row: Any, *names: str) -> str:
    """Return the first cell of a row that has something in it."""
    return next((str(row[n]) for n in names if n in row and str(row[n]).strip()), "")
