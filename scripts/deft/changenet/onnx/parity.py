"""Does the ONNX decide as the KPI did? Two sets of scores of the same pictures at one threshold.

Both sides run the whole path: decode, resize, normalise, network, threshold.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deft.changenet.data.pairs import PairData, batches
from deft.changenet.model import ChangeNet
from deft.changenet.onnx.scorer import Scorer, score_pairs
from deft.changenet.scoring import outputs
from deft.core.errors import HardStop
from deft.kpi.handed_off import threshold_to_set
from deft.tables.changenet_table import line_of

ROWS_KEPT = 20  # flipped rows that a record names
FLOAT_NOISE = 1e-6  # of a score, between batch sizes, thread counts and machines
LARGEST_NOISE = 1e-5  # of a score, between two sound runtimes; more is no matter of float32
RUNTIME_FIX = (
    "set runtime: onnx, so that the KPI and its threshold are measured with what is handed off"
)


def hardest_rows(scores: np.ndarray, threshold: float, limit: int) -> np.ndarray:
    """Return at most ``limit`` places (ascending): where a flip is likeliest, and an even spread.

    Half are the scores nearest to the threshold; a flip needs a difference beyond that distance.
    """
    count = len(scores)
    if count <= limit:
        return np.arange(count)
    distance = np.abs(np.asarray(scores, np.float64) - threshold)
    near = np.argsort(distance, kind="stable")[: limit // 2]
    spread = np.linspace(0, count - 1, limit - len(near)).astype(int)
    return np.unique(np.concatenate([near, spread]))


def compare(reference: np.ndarray, other: np.ndarray, threshold: float) -> dict[str, Any]:
    """Compare float32 scores (n,) of two runtimes at a threshold; return plain numbers.

    ``largest_difference``: of a score. ``smallest_margin``: of any score on either side to the
    threshold; ``above_noise``: whether that is more than float noise. ``flips``: pairs that one
    side rejects and the other passes; ``flipped`` are the first of their places, from 0.
    ``flips_above_noise``: those where neither score is within 1e-6 of the threshold, or the two
    are more than 1e-5 apart; ``flipped`` names them alone where there are any.
    """
    reference, other = (np.asarray(s, np.float32) for s in (reference, other))
    if reference.shape != other.shape or reference.ndim != 1 or not reference.size:
        raise ValueError(f"scores {reference.shape} against {other.shape}")
    cut = np.float32(threshold)
    flipped = np.flatnonzero((reference > cut) != (other > cut))
    both = np.stack([reference, other]).astype(np.float64)
    distance = np.abs(both - float(cut)).min(axis=0)
    margin, apart = float(distance.min()), np.abs(both[0] - both[1])
    noise = (distance <= FLOAT_NOISE) & (apart <= LARGEST_NOISE)
    worse = flipped[~noise[flipped]]
    return {
        "pairs": int(reference.size),
        "threshold": float(threshold),  # as it is typed
        "largest_difference": float(apart.max()),
        "smallest_margin": margin,
        "above_noise": margin > FLOAT_NOISE,
        "flips": int(flipped.size),
        "flips_above_noise": int(worse.size),
        "flipped": (worse if worse.size else flipped)[:ROWS_KEPT].tolist(),
    }


def gate(found: dict[str, Any], table: str | Path, what: str, fix: str = RUNTIME_FIX) -> None:
    """Stop with ``score_invalid`` when a decision differs above noise, naming the table's rows.

    A part that float noise turns is no fault of the export: the network itself does not tell it
    from the parts on the threshold's other side. It is recorded and told, and the run ends.
    """
    if found["flips_above_noise"]:
        raise HardStop(
            "score_invalid",
            f"{what} decides {found['flips_above_noise']} of {found['pairs']} parts otherwise, "
            f"beyond float noise, at the threshold "
            f"{found['threshold']:.6g} (scores differ by up to {found['largest_difference']:.3g})",
            file=table,
            row=[line_of(i) for i in found["flipped"]],
            fix=fix,
            evidence={k: v for k, v in found.items() if k != "flipped"},
        )


def parity(
    model: ChangeNet,
    onnx_path: str | Path,
    data: PairData,
    threshold: float,
    *,
    threads: int = 1,
    batch_size: int | None = None,
) -> dict[str, Any]:
    """Score a table with torch and with ONNX Runtime on the CPU and compare at ``threshold``.

    ``at_kpi_threshold`` is :func:`compare` there, ``at_safe_threshold`` at
    :func:`deft.kpi.handed_off.threshold_to_set`, which is what a hand-off carries.
    """
    torch.set_num_threads(max(1, threads))
    size = batch_size or data.spec.dataset.classify.batch_size
    out = outputs(model.cpu(), data, size, torch.device("cpu"))
    reference = model.score(out).numpy()
    other = score_pairs(Scorer(onnx_path, threads=threads), data, size)
    safe = threshold_to_set(reference, threshold)
    return {
        "at_kpi_threshold": compare(reference, other, threshold),
        "at_safe_threshold": compare(reference, other, safe),
    }


def pairs_per_s(score: Any, data: PairData, batch_size: int, *, pairs: int, rounds: int) -> float:
    """Return the best of ``rounds`` rates of ``score(test, golden)`` on decoded batches.

    ``score`` takes two normalised float32 arrays; pictures are decoded before the clock starts.
    """
    rows = range(min(pairs, len(data)))
    fed = [
        (np.ascontiguousarray(b.test.numpy()), np.ascontiguousarray(b.golden.numpy()))
        for b in batches(data, rows, batch_size)
    ]
    score(*fed[0])  # the first call allocates
    best = float("inf")
    for _ in range(rounds):
        began = time.perf_counter()
        for test, golden in fed:
            score(test, golden)
        best = min(best, time.perf_counter() - began)
    return len(rows) / best
