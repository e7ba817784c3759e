"""What each metric of ``summary.json`` means, in what unit, and which end is better."""

from __future__ import annotations

from typing import Any

PRIMARY = "far_pct"
_PASS = "good parts of the KPI set"
_NG = "defective parts of the KPI set"
_BOUND = "exact one-sided 95 % Clopper-Pearson bound"

# name: (key in analysis.json:results, definition, unit, higher is better)
METRICS: dict[str, tuple[str, str, str, bool | None]] = {
    PRIMARY: (
        "best.far_pct",
        f"share of {_PASS} rejected (FP / (FP + TN)) at the threshold that reaches the required "
        "recall; lowest over all phases",
        "%",
        False,
    ),
    "far_upper95_pct": ("best.far_upper95_pct", f"upper {_BOUND} of far_pct", "%", False),
    "false_alarms": ("best.fp", f"{_PASS} rejected (FP)", "count", False),
    "good_parts": ("best.pass", f"{_PASS}", "count", None),
    "recall_pct": (
        "best.recall_pct",
        f"share of {_NG} caught (TP / (TP + FN)) at the same threshold",
        "%",
        True,
    ),
    "recall_lower95_pct": ("best.recall_lower95_pct", f"lower {_BOUND} of recall_pct", "%", True),
    "caught": ("best.tp", f"{_NG} caught (TP)", "count", True),
    "defects": ("best.ng", f"{_NG}", "count", None),
    "threshold": (
        "best.threshold",
        "the KPI's own, a part's score; a part is rejected when its siamese score lies above it "
        "(high = defective)",
        "score",
        None,
    ),
    "set_threshold": (
        "best.set_threshold",
        "the threshold to set: between two scores, decides the KPI set as `threshold` does",
        "score",
        None,
    ),
    "precision": ("best.precision", "TP / (TP + FP) at the threshold", "ratio", True),
    "f1": ("best.f1", "harmonic mean of precision and recall at the threshold", "ratio", True),
    "baseline_far_pct": ("baseline.far_pct", "far_pct of the baseline phase", "%", False),
    "far_improvement_pp": (
        "best.improvement_pp",
        "baseline_far_pct minus far_pct",
        "percentage points",
        True,
    ),
    "gap_to_target_pp": (
        "best.gap_pp",
        "far_pct minus the target; below zero when it is undercut",
        "percentage points",
        False,
    ),
    "target_far_max_pct": ("target.far_max_pct", "the FAR asked for", "%", None),
    "models_scored": (
        "run.models_scored",
        "weight files scored on the KPI set; choosing the best of several flatters",
        "count",
        None,
    ),
    "phases_evaluated": ("run.phases_evaluated", "phases with a FAR", "count", None),
}


def definitions(names: Any) -> dict[str, dict[str, Any]]:
    """Return ``metric_definitions`` for the metrics that a summary has."""
    return {
        name: {
            "definition": METRICS[name][1],
            "unit": METRICS[name][2],
            "higher_is_better": METRICS[name][3],
        }
        for name in names
    }
