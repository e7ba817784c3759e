"""What an export over several views costs, and its form in two stages."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


@contextmanager
def one_view_graph(
    context: Context, weights: Path, beside: Scorer, threads: int, *, keep: bool
) -> Iterator[tuple[Scorer, str]]:
    """Give the loaded export of one view and its SHA-256; ``keep``: it stays beside the other's."""
    with tempfile.TemporaryDirectory(dir=context.run.dir, prefix=".onnx.") as folder:
        path = beside.path.with_name(FIRST) if keep else Path(folder) / FIRST
        made = export_onnx(context.spec, weights, path)
        device = "cuda" if beside.provider == CUDA else "cpu"
        yield Scorer(path, device=device, threads=threads), made["sha256"]


def cost(scorer: Scorer, one: Scorer, kpi: PairData, batch_size: int) -> dict[str, float]:
    """Return how many pairs a second the exported graph takes, and that of one view."""
    size = scorer.fixed_batch or batch_size
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
    network: Network,
    graph: tuple[Scorer, str],
    one: np.ndarray,
    scores: np.ndarray,
    rows: np.ndarray,
    score: Callable[[Network], np.ndarray],
    *,
    table: Path,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Try the first stage that lies beside ``network``; return its part of the facts, a record.

    Parameters
    ----------
    graph: of :func:`one_view_graph`, kept.
    one, scores: float32 (n,) of all KPI parts, from one view and over all views.
    rows: places of the parts to check; ``score`` scores them as ``score.py`` does.

    Raises HardStop ``score_invalid`` where both stages decide one of ``rows`` otherwise than the
    KPI did.
    """
    threshold, (scorer, digest) = network.facts.threshold, graph
    found = margin_of(one, scores, threshold, logits=network.facts.logits)
    first = Network(scorer.path, network.facts, scorer.session, scorer.provider, network.batch)
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
    told = {"file": FIRST, "sha256": digest, "margin": found["margin"]}
    return told, {**found, "pairs": len(rows), "scored_again": staged.again}
