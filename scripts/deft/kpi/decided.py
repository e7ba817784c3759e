"""What a phase decides of each KPI part, and two phases compared part by part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deft.kpi.evaluation import Correct, read_scores
from deft.kpi.flips import Compared, compared
from deft.tables.changenet_table import SCORE_COLUMN, ng_of


@dataclass(frozen=True)
class Decisions:
    """Of each part: its name, whether it is rejected, whether it is a defect; bool (n,)."""

    parts: tuple[tuple[str, str], ...]
    rejected: np.ndarray
    ng: np.ndarray


def decisions(path: Path, metrics: Mapping[str, Any], correct: Correct | None) -> Decisions:
    """Return what a phase decides at its threshold; ``path``: its chosen inference table."""
    return decisions_of(read_scores(path, correct), threshold_of(metrics))


def threshold_of(metrics: Mapping[str, Any]) -> float:
    """Return the threshold at which a phase decides."""
    return float(metrics["kinds"][metrics["chosen"]]["recall_point"]["threshold"])


def decisions_of(table: pd.DataFrame, threshold: float) -> Decisions:
    """Return the decisions of a scored table; scores are compared in float32."""
    scores = table[SCORE_COLUMN].to_numpy(dtype=np.float32)
    parts = zip(table["input_path"], table["object_name"], strict=True)
    return Decisions(tuple(parts), scores > np.float32(threshold), ng_of(table["label"]))


def same_parts(one: Decisions, other: Decisions) -> bool:
    """Return whether two phases were scored on the same parts with the same labels."""
    return one.parts == other.parts and bool(np.array_equal(one.ng, other.ng))


def compared_decisions(before: Decisions, now: Decisions) -> Compared | None:
    """Return the comparison, or None where the KPI table changed between the two."""
    if not same_parts(before, now):
        return None
    return compared(before.rejected, now.rejected, now.ng)
