"""What an export over several views costs, and its form in two stages."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from deft.changenet.data.pairs import PairData
from deft.changenet.onnx.export import export_onnx
from deft.changenet.onnx.int8 import TIMED_PAIRS, TIMED_ROUNDS
from deft.changenet.onnx.parity import ROWS_KEPT, pairs_per_s
from deft.changenet.onnx.scorer import CUDA, Scorer
from deft.changenet.onnx.two_stage import FIRST, margin_of
from deft.core.errors import HardStop
from deft.score_kit.network import Network, TwoStage
from deft.stages.context import Context
from deft.tables.changenet_table import line_of


def cost(
    context: Context, weights: Path, scorer: Scorer, kpi: PairData, threads: int
) -> dict[str, float]:
    """Return how many pairs a second the exported graph takes, and one view of it."""
    size = scorer.fixed_batch or context.spec.dataset.classify.batch_size
    with tempfile.TemporaryDirectory(dir=context.run.dir, prefix=".onnx.") as folder:
        path = Path(folder) / FIRST
        export_onnx(context.spec, weights, path)
        one = Scorer(path, device=_device(scorer), threads=threads)
        rates = [
            pairs_per_s(each.run, kpi, size, pairs=TIMED_PAIRS, rounds=TIMED_ROUNDS)
            for each in (scorer, one)
        ]
    return {
        "pairs_per_s": round(rates[0], 2),
        "one_view_pairs_per_s": round(rates[1], 2),
        "times_the_cost": round(rates[1] / rates[0], 2),
    }


def first_stage(
    context: Context,
    weights: Path,
    network: Network,
    one: np.ndarray,
    scores: np.ndarray,
    rows: np.ndarray,
    score: Callable[[Network], np.ndarray],
    *,
    threads: int,
    table: Path,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write the first stage beside ``network``; return (``first_stage`` of the facts, a record).

    Parameters
    ----------
    one, scores: float32 (n,) of all KPI parts, from one view and over all views.
    rows: places of the parts to check; ``score`` scores them as ``score.py`` does.

    Raises HardStop ``score_invalid`` where both stages decide one of ``rows`` otherwise than the
    KPI did.
    """
    threshold, path = network.facts.threshold, network.path.with_name(FIRST)
    found = margin_of(one, scores, threshold, logits=network.facts.logits)
    made = export_onnx(context.spec, weights, path)
    scorer = Scorer(path, device=_device(network), threads=threads)
    first = Network(path, network.facts, scorer.session, scorer.provider, network.batch)
    staged = TwoStage(first, network, found["margin"])
    cut = np.float32(threshold)
    other = np.flatnonzero((score(staged) > cut) != (scores[rows] > cut))
    if other.size:
        raise HardStop(
            "score_invalid",
            f"two stages decide {other.size} of {len(rows)} KPI parts otherwise than all views "
            f"(margin {found['margin']:.6g})",
            file=table,
            row=[line_of(int(rows[i])) for i in other[:ROWS_KEPT]],
            fix="set score_two_stage: false",
        )
    told = {"file": FIRST, "sha256": made["sha256"], "margin": found["margin"]}
    return told, {**found, "pairs": len(rows), "scored_again": staged.again}


def _device(scorer: Scorer | Network) -> str:
    return "cuda" if scorer.provider == CUDA else "cpu"
