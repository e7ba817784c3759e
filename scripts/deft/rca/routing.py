"""Which gaps go to mining and which to AnomalyGen."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from deft.core.errors import HardStop
from deft.tables.labels import label_key


@dataclass(frozen=True)
class Routes:
    """Gaps by destination (same columns) and the table behind the summary."""

    mining: pd.DataFrame
    anomalygen: pd.DataFrame
    summary: pd.DataFrame  # label, samples, mining (yes/no), anomalygen (yes/no)


def routing_key(label: str) -> str:
    """Return a label as routing compares it: upper-cased, of the one form that it has inside."""
    return label_key(label).upper()


def route_pregen(gaps: pd.DataFrame) -> Routes:
    """Send every gap to mining; the synthetic pairs wait in the pool already."""
    counts = gaps["label"].value_counts().sort_index()
    summary = pd.DataFrame(
        {"label": counts.index, "samples": counts.to_numpy(), "mining": "yes", "anomalygen": "no"}
    )
    return Routes(gaps, gaps.iloc[:0], summary)


def route_by_label(
    gaps: pd.DataFrame,
    pool_labels: set[str],
    anomalygen_labels: list[str],
    allow_unrouted: list[str],
) -> Routes:
    """Send a label to mining if the pool has it, to AnomalyGen if that can draw it (or both).

    Labels are compared upper-cased.

    Raises
    ------
    HardStop ``silent_drop`` when a label goes nowhere and ``allow_unrouted`` does not name it.
    """
    pool, drawn, allowed = (
        {routing_key(label) for label in labels}
        for labels in (pool_labels, anomalygen_labels, allow_unrouted)
    )
    upper = gaps["label"].map(routing_key)
    homeless = ~upper.isin(pool | drawn | allowed)
    lost = sorted(set(upper[homeless]))
    if lost:
        written = sorted(set(gaps["label"][homeless]))
        raise HardStop(
            "silent_drop",
            f"weak samples with label(s) {lost} (in the KPI table: {', '.join(written)}) would go "
            "neither to mining nor to AnomalyGen",
            fix="add such samples to the pool, or name the labels in allow_unrouted",
            evidence={"labels": lost, "samples": int(homeless.sum())},
        )
    counts = gaps["label"].value_counts().sort_index()
    key = [routing_key(label) for label in counts.index]
    summary = pd.DataFrame(
        {
            "label": counts.index,
            "samples": counts.to_numpy(),
            "mining": ["yes" if k in pool else "no" for k in key],
            "anomalygen": ["yes" if k in drawn else "no" for k in key],
        }
    )
    return Routes(gaps[upper.isin(pool)], gaps[upper.isin(drawn)], summary)


def summary_text(routes: Routes, mode: str, mining: str, anomalygen: str) -> str:
    """Return ``routing_summary.txt``, in the form that NVIDIA's own routing gives.

    ``mining``, ``anomalygen``: paths of the two tables, relative to the workspace.
    """
    lines = [
        "Weak-sample routing summary",
        f"Mode: {mode}",
        f"Total weak samples: {int(routes.summary['samples'].sum())}",
        f"Mining subset:      {len(routes.mining)} -> {mining}",
        f"AnomalyGen subset:  {len(routes.anomalygen)} -> {anomalygen}",
        "",
        "Per-label breakdown (count, mining, anomalygen):",
    ]
    lines += [
        f"  {row.label}: {row.samples} (mining={row.mining}, anomalygen={row.anomalygen})"
        for row in most_first(routes.summary).itertuples()
    ]
    return "\n".join(lines) + "\n"


def most_first(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the table of labels by falling number of samples; between equals the label decides."""
    return summary.sort_values(["samples", "label"], ascending=[False, True], kind="stable")
