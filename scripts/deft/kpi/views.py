"""What a phase's KPI would be with scores over other views of its parts (``score_views``)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deft.core.errors import HardStop
from deft.core.files import made_again
from deft.core.reading import check_shape
from deft.kpi.evaluation import FAR_LEVELS_PCT, Correct, read_scores
from deft.kpi.handed_off import threshold_to_set
from deft.kpi.operating_point import at_recall, check_scores, sweep
from deft.kpi.steady import far_geometric_mean_pct
from deft.tables.changenet_table import SCORE_COLUMN, ng_of


def views_of_phase(
    table: Path,
    record: Path,
    told: Mapping[str, Any],
    kind: str,
    min_recall: float,
    correct: Correct | None = None,
    frame: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """Return name of views -> passes, recall_point, far_at_recall, far_geometric_mean_pct, and
    threshold_to_set, which decides as recall_point does (:mod:`deft.kpi.handed_off`).

    Parameters
    ----------
    table: the inference table of ``kind``, the chosen weights; its scores are those of
        ``told["score_views"]``.
    record: ``inference.json``, which ``told`` is the content of; other views' scores are in it,
        one a row of the table. An earlier version's has none: then there is nothing to compare.
    correct: see :func:`deft.kpi.evaluation.read_scores`; ``frame``: what that made of the table,
        where it is known.

    Raises
    ------
    HardStop ``missing_input`` where the record has not one score a row, ``score_invalid`` for one
    that is not finite.
    """
    if "score_views" not in told:
        return {}
    frame = read_scores(table, correct) if frame is None else frame
    rows = len(frame) if correct is None else len(read_scores(table))
    problem = check_shape(told, {"score_views": str, "passes": int, "kinds": {kind: {"views": {}}}})
    others = {} if problem else told["kinds"][kind]["views"]
    for name, other in others.items():
        problem = problem or check_shape(other, {"passes": int, "scores": [float]}, name)
        if not problem and len(other["scores"]) != rows:
            problem = f"{len(other['scores'])} scores of {name} for {rows} rows"
    if problem:
        raise HardStop(
            "missing_input",
            f"the record is damaged: {problem}",
            file=record,
            fix=made_again(record),
        )
    own = frame[SCORE_COLUMN].to_numpy(dtype=np.float32)
    found = {str(told["score_views"]): (told["passes"], own)}
    for name, other in others.items():
        scores = np.asarray(other["scores"], dtype=np.float32)
        # The index names the rows of the file: corrections leave some out.
        found[name] = (other["passes"], scores[frame.index.to_numpy()])
    ng = ng_of(frame["label"])
    out = {}
    for name, (count, scores) in sorted(found.items(), key=lambda one: (one[1][0], one[0])):
        check_scores(scores, ng, file=str(record))
        swept = sweep(scores, ng)
        point = at_recall(swept, min_recall)
        out[name] = {
            "passes": count,
            "recall_point": point,
            "threshold_to_set": threshold_to_set(scores, point["threshold"]),
            "far_at_recall": {str(p): at_recall(swept, p / 100) for p in FAR_LEVELS_PCT},
            "far_geometric_mean_pct": far_geometric_mean_pct(scores, ng),
        }
    return out


def views_text(views: Mapping[str, Any]) -> str:
    """Return ``turns: FAR 9.28 → 0.94 %, 4 × the scoring time``, or nothing to compare."""
    one = views.get("one")
    others = [(name, found) for name, found in views.items() if name != "one"]
    if one is None or not others:
        return ""
    name, found = others[-1]
    before, now = (f"{each['recall_point']['far_pct']:.4g}" for each in (one, found))
    return f"{name}: FAR {before} → {now} %, {found['passes']} × the scoring time"
