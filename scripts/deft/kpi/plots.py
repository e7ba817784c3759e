"""The PNG pictures beside an inference table (drawn without a display)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from deft.core.files import replace_atomically

GOOD, BAD, INK = "#2b7a78", "#d9822b", "#333333"
BINS = 40


def _figure(width_in: float, height_in: float) -> Any:  # a Figure; matplotlib loads slowly
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: str | Path) -> None:
    # No software version or date in the file: same data, same bytes.
    replace_atomically(path, lambda p: figure.savefig(p, metadata={"Software": None}))


def plot_scores(
    path: str | Path, scores: np.ndarray, ng: np.ndarray, point: dict[str, Any], lowest: float
) -> None:
    """Draw both score populations (log counts) with the operating threshold.

    ``lowest``: the threshold that misses no defect, drawn too where the KPI allows some.
    """
    figure = _figure(7, 3.6)
    axes = figure.subplots()
    low, high = float(scores.min()), float(scores.max())
    edges = np.linspace(low, high if high > low else low + 1e-6, BINS + 1)
    axes.hist(scores[~ng], edges, color=GOOD, alpha=0.75, label=f"PASS ({int((~ng).sum())})")
    axes.hist(scores[ng], edges, color=BAD, alpha=0.75, label=f"NG ({int(ng.sum())})")
    axes.axvline(point["threshold"], color=INK, linestyle="--", label="threshold")
    if lowest != point["threshold"]:
        axes.axvline(lowest, color=INK, linestyle=":", label="100 % recall threshold")
    axes.set_yscale("log")
    axes.set_ylabel("samples (log)")
    axes.set_xlabel("siamese_score (high = defective)")
    axes.set_title(
        f"FAR {point['far_pct']:.2f} % at recall {point['recall_pct']:.1f} % "
        f"(threshold {point['threshold']:.4g})",
        fontsize=10,
    )
    axes.legend(frameon=False, fontsize=9)
    _save(figure, path)


def plot_confusion(path: str | Path, point: dict[str, Any], name: str) -> None:
    """Draw the 2 x 2 counts of an operating point."""
    figure = _figure(3.6, 3.2)
    axes = figure.subplots()
    counts = np.array([[point["tn"], point["fp"]], [point["fn"], point["tp"]]])
    axes.imshow(counts, cmap="Greys", vmin=0, vmax=max(1, counts.max() * 1.6))
    for (row, column), count in np.ndenumerate(counts):
        axes.text(column, row, str(count), ha="center", va="center", color=INK, fontsize=13)
    axes.set_xticks([0, 1], ["accepted", "rejected"])
    axes.set_yticks([0, 1], ["PASS", "NG"])
    axes.set_title(f"at the {name}, threshold {point['threshold']:.4g}", fontsize=10)
    _save(figure, path)
