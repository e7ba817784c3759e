"""The report's charts: matplotlib drawings as inline SVG text.

Deterministic (fixed hash salt, no date), without fonts of their own, and coloured by the page's
CSS variables, so that one drawing suits a light and a dark screen.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from deft.tables.changenet_table import is_ng

# Stand-ins that the page's stylesheet replaces; chosen so that no chart uses them by chance.
INK, FAINT, GOOD, BAD, TARGET, EXTRA = (
    "#010203", "#0a0b0d", "#010f20", "#0f1002", "#010f03", "#0e020f",
)  # fmt: skip
CSS_COLOURS = {
    INK: "var(--ink)",
    FAINT: "var(--line)",
    GOOD: "var(--ok)",
    BAD: "var(--ng)",
    TARGET: "var(--goal)",
    EXTRA: "var(--extra)",
}
BINS = 40
NARROW_SCORES = 0.3  # scores closer together than this are drawn on their own range
CURVE_POINTS = 300
MIN_LINEAR_PCT = 0.1  # below this FAR the log axis turns linear
LOWEST_RECALL_PCT = 50
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


def _figure(width: float = 7.2, height: float = 3.0) -> tuple[Any, Any]:
    # Not by pyplot: it takes a third longer to import, and keeps its figures.
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.subplots()


def _svg(figure: Any, name: str, label: str) -> str:
    """Return a finished drawing as an ``<svg>`` element; ``label`` is read by screen readers."""
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": f"deft-{name}"}):
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    # Group names repeat between charts; only what is referred to keeps its id.
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r"font-family: [^;\"]*", "font-family: system-ui, sans-serif", text)
    for colour, variable in CSS_COLOURS.items():
        text = text.replace(colour, variable)
    text = re.sub(r"\n\s*", "\n", text)
    head = f'<svg role="img" aria-label="{label}"'
    text = re.sub(
        r'<svg (?:xmlns:xlink="[^"]*" )?width="[^"]*" height="[^"]*"', head, text, count=1
    )
    return text.strip()


def _short(name: str) -> str:
    return name if len(name) <= 14 else name[:13] + "…"


def far_by_phase(
    phases: Sequence[str],
    far_pct: Sequence[float],
    upper_pct: Sequence[float | None],
    target_pct: float | None,
) -> str:
    """Return FAR per phase [%] with the one-sided upper bound and the target line."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure()
        x = np.arange(len(phases))
        far = np.asarray(far_pct, dtype=float)
        upper = np.array([f if u is None else u for f, u in zip(far, upper_pct, strict=True)])
        axes.errorbar(
            x, far, yerr=[np.zeros_like(far), np.maximum(upper - far, 0)], fmt="none",
            ecolor=GOOD, elinewidth=1.4, capsize=5, label="up to the upper bound",
        )  # fmt: skip
        axes.plot(x, far, "o-", color=GOOD, linewidth=2, markersize=7, label="FAR measured")
        if target_pct is not None:
            axes.axhline(target_pct, color=TARGET, linestyle="--", linewidth=1.6, label="target")
        top = float(max(upper.max(), target_pct or 0, 1e-6))
        if target_pct and top / target_pct > 20:
            # A target of 0.1 % beside a baseline of 12 % would lie on the axis.
            axes.set_yscale("symlog", linthresh=target_pct, linscale=0.6)
            axes.yaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%g"))
        axes.set_ylim(bottom=0, top=top * 1.15)
        axes.set_xlim(-0.4, max(len(phases) - 0.6, 0.6))
        axes.set_xticks(x, [_short(p) for p in phases])
        axes.set_ylabel("FAR at the required recall [%]")
        axes.legend(loc="lower left", fontsize=9, ncols=3, bbox_to_anchor=(0, 1.0))
        return _svg(figure, "far", "False alarm rate of each phase against the target")


def training_growth(phases: Sequence[str], real: Sequence[float], sdg: Sequence[float]) -> str:
    """Return the training rows of each phase, real below synthetic."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(height=2.6)
        x = np.arange(len(phases))
        axes.bar(x, real, width=0.55, color=GOOD, label="real rows")
        axes.bar(x, sdg, width=0.55, bottom=real, color=EXTRA, label="synthetic rows")
        axes.set_xticks(x, [_short(p) for p in phases])
        axes.set_xlim(-0.6, max(len(phases) - 0.4, 0.6))
        axes.set_ylabel("training rows [count]")
        axes.grid(axis="x", visible=False)
        axes.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
        axes.legend(loc="lower left", fontsize=9, ncols=2, bbox_to_anchor=(0, 1.0))
        return _svg(figure, "growth", "Training rows of each phase")


def score_distribution(scores: pd.DataFrame, threshold: float | None, name: str) -> str:
    """Return the scores of good and defective parts on one axis, counts on a log axis."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure()
        values = scores["siamese_score"].to_numpy(dtype=float)
        bad = scores["label"].map(is_ng).to_numpy(dtype=bool)
        low, high = float(values.min()), float(values.max())
        probability = low >= 0 and high <= 1
        if probability and high - low > NARROW_SCORES:
            low, high = 0.0, 1.0
        edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
        axes.hist(values[~bad], bins=edges, color=GOOD, alpha=0.75, label="PASS (good parts)")
        axes.hist(values[bad], bins=edges, color=BAD, alpha=0.75, label="NG (defective parts)")
        if threshold is not None:
            axes.axvline(threshold, color=INK, linestyle="--", linewidth=1.5, label="threshold")
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(matplotlib.ticker.ScalarFormatter())
        axes.yaxis.set_minor_locator(matplotlib.ticker.NullLocator())
        scale = "0 = like its golden, 1 = defective" if probability else "higher = more defective"
        axes.set_xlabel(f"siamese score ({scale})")
        axes.set_ylabel("parts [count, log]")
        axes.legend(fontsize=9, ncols=3, loc="lower left", bbox_to_anchor=(0, 1.0))
        return _svg(figure, f"scores-{name}", "Scores of good and defective parts")


def recall_far(curves: Sequence[tuple[str, pd.DataFrame]], target_pct: float | None) -> str:
    """Return recall against FAR [%] for some phases; up and to the left is better."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure()
        for (name, sweep), colour, style in zip(curves, (GOOD, EXTRA), ("-", ":"), strict=False):
            step = max(1, len(sweep) // CURVE_POINTS)
            kept = sweep.iloc[sorted({*range(0, len(sweep), step), len(sweep) - 1})]
            axes.plot(
                100 * kept["far"], 100 * kept["recall"], style, color=colour, label=name,
                drawstyle="steps-post", linewidth=2,
            )  # fmt: skip
        if target_pct is not None:
            axes.axvline(
                target_pct, color=TARGET, linestyle="--", linewidth=1.6, label="FAR target"
            )
        axes.set_xlabel("FAR: good parts rejected [%]")
        axes.set_ylabel("recall: defects caught [%]")
        # The working range is the corner near full recall and low FAR.
        axes.set_xscale("symlog", linthresh=max(target_pct or 0.0, MIN_LINEAR_PCT))
        axes.xaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%g"))
        axes.set_xlim(left=0, right=100)
        axes.set_ylim(LOWEST_RECALL_PCT, 101)
        axes.legend(loc="lower left", fontsize=9, ncols=3, bbox_to_anchor=(0, 1.0))
        return _svg(figure, "recall-far", "Recall against false alarm rate")


def training_curves(train: pd.DataFrame, validation: pd.DataFrame, name: str) -> str | None:
    """Return training and validation loss by epoch, or None when there is nothing to draw."""
    drawn = [
        (table, column, label, colour)
        for table, column, label, colour in (
            (train, "train_loss", "training loss", GOOD),
            (validation, "val_loss", "validation loss", BAD),
        )
        if {"epoch", column} <= set(table.columns)
        and len(table.dropna(subset=["epoch", column])) > 1
    ]
    if not drawn:
        return None
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(width=4.6, height=2.2)
        for table, column, label, colour in drawn:
            mean = table.dropna(subset=["epoch", column]).groupby("epoch")[column].mean()
            axes.plot(mean.index, mean, "o-", color=colour, label=label, markersize=3)
        axes.set_xlabel("epoch [count from 0]")
        axes.set_ylabel("loss")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
        axes.legend(fontsize=9)
        return _svg(figure, f"loss-{name}", "Loss by epoch")
