"""The KPI set through the reader and the graph that ``score.py`` of the hand-off will have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deft.changenet.data.pairs import PairData
from deft.changenet.onnx.scorer import Scorer, score_pairs
from deft.core.errors import HardStop
from deft.score_kit.embeddings import FEWEST, KEPT, Reference, made_reference
from deft.score_kit.errors import Stop
from deft.score_kit.loop import score_rows
from deft.score_kit.naming import evenly
from deft.score_kit.network import Network, open_session
from deft.score_kit.prepare import facts_of
from deft.score_kit.table import Parts


def as_handed_off(
    network: Network, scorer: Scorer, kpi: PairData, rows: np.ndarray, threads: int
) -> tuple[str | None, np.ndarray]:
    """Score rows as ``score.py`` will: its reader of pictures, its batches, this ONNX.

    Returns (None, float32 scores (len(rows),)). A kind of picture that only the pipeline reads
    ends no run: then (why ``score.py`` refuses it, the scores through the pipeline's reader).
    """
    every = np.zeros(len(kpi), np.float32)

    def done(batch: Sequence[int], scores: np.ndarray, features: np.ndarray | None) -> None:
        every[list(batch)] = scores

    try:
        score_rows(parts_of(kpi), network, rows.tolist(), workers=max(2, threads), done=done)
    except Stop as stop:
        if stop.code != "image_invalid":
            raise HardStop(
                stop.code, stop.message, file=stop.file, row=stop.rows, fix=stop.fix
            ) from None
        return stop.message, score_pairs(scorer, kpi, network.batch, rows)
    return None, every[rows]


def parts_of(kpi: PairData) -> Parts:
    """Return a table as ``score.py`` has it."""
    parts = Parts(Path(kpi.csv_path or ""), [], [[] for _ in range(len(kpi))])
    parts.test = [kpi.test_files(row) for row in range(len(kpi))]
    parts.golden = [kpi.golden_files(row) for row in range(len(kpi))]
    return parts


def embeddings(
    facts: dict[str, Any],
    exported: dict[str, Any],
    folder: Path,
    kpi: PairData,
    good: np.ndarray,
    batch_size: int,
    threads: int,
) -> Reference | None:
    """Return what new pictures are compared with: embeddings of the good rows that pass.

    Of more than 4096 rows evenly spread ones. None of too few, or where the graph has no tensor
    that is the backbone's last level.
    """
    tensor, found = exported["features"], []
    if tensor is None or len(good) < FEWEST:
        return None
    path = folder / exported["file"]
    session = open_session(path, "cpu", threads, tensor)
    network = Network(path, facts_of(facts), *session, batch_size, tensor)

    def done(batch: Sequence[int], scores: np.ndarray, features: np.ndarray | None) -> None:
        assert features is not None
        found.append(features.mean(axis=(2, 3)) if features.ndim == 4 else features)

    rows = [int(row) for row in evenly(good.tolist(), min(len(good), KEPT))]
    score_rows(parts_of(kpi), network, rows, workers=max(2, threads), done=done)
    return made_reference(np.concatenate(found), tensor, exported["sha256"])
