"""What the verdict box shows: the judgements, the threshold, and near-copies as pairs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from deft.record.judged import PAIRS_SHOWN
from deft.record.metric import phase_met
from deft.record.phase_files import PhaseFiles
from deft.record.run_files import RunFiles
from deft.record.verdict import verdict_of
from deft.report.thumbs import Thumbnails


def verdict_view(
    files: RunFiles, phase: PhaseFiles, results: Mapping[str, Any], thumbs: Thumbnails
) -> dict[str, Any] | None:
    """Return the verdict on a phase with its pairs as pictures, or None."""
    verdict = verdict_of(files, phase, results)
    if verdict is None:
        return None
    pairs = [
        {
            "mined": near.mined,
            "name": PurePosixPath(near.picture).stem,
            "held_out_name": PurePosixPath(near.held_out).stem,
            "picture": thumbs(files.inside(near.picture)),
            "held_out": thumbs(files.inside(near.held_out)),
        }
        for near in (verdict.judged.near or [])[:PAIRS_SHOWN]
    ]
    return {
        "phase": verdict.phase,
        "judgements": verdict.judgements,
        "threshold": verdict.threshold,
        "off_target": phase_met(files, phase) is False,
        "why_two": verdict.why_two,
        "pairs": pairs,
    }
