"""What the threshold instrument of the page starts from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from deft.kpi.operating_point import CONFIDENCE
from deft.record.phase_files import PhaseFiles
from deft.record.run_files import RunFiles
from deft.report.packed import pack
from deft.tables.changenet_table import is_ng


def instrument_view(
    files: RunFiles, phase: PhaseFiles, results: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the packed scores of a phase, its threshold and the target; None without scores."""
    threshold = results.get(f"{phase.name}.set_threshold")
    if threshold is None or len(phase.scores) == 0:
        return None
    ng = phase.scores["label"].astype(str).map(is_ng).to_numpy(bool)
    if ng.all() or not ng.any():
        return None
    scores = phase.scores["siamese_score"].to_numpy(np.float32)
    return pack(scores, ng, threshold) | {
        "threshold": threshold,
        "confidence": CONFIDENCE,
        "target": {
            "far_max_pct": files.target.get("far_max_pct"),
            "min_recall": files.target.get("min_recall", 1.0),
            "strict": bool(files.target.get("strict", True)),
        },
    }
