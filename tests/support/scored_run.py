"""A run whose light stages have run, without any training: weights are bytes, scores are given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from stage_calls import assemble, evaluate, measure_parts, rca, route, stage_pool, validate
from tiny_workspace import make_tiny_workspace

from deft.core.files import sha256_file, write_json_atomic
from deft.core.layout import KPI_TABLE, Run
from deft.kpi.evaluation import KINDS
from deft.stages.context import Context
from deft.tables import sealed
from deft.tables.changenet_table import is_ng, read_table, write_table

RUN = "run_scored"
Scores = Callable[[np.ndarray], np.ndarray]  # whether each part is defective -> siamese scores


def overlapping(ng: np.ndarray) -> np.ndarray:
    """Return scores of both classes that overlap: best F1 misses defects, full recall rejects."""
    rng = np.random.default_rng(3)
    drawn = np.where(ng, rng.normal(0.62, 0.2, ng.size), rng.normal(0.35, 0.2, ng.size))
    return np.clip(drawn, 0.001, 0.999).astype(np.float32)


def write_scores(context: Context, phase: str, scores: Scores = overlapping) -> None:
    """Write what training and inference would leave."""
    folder = context.run.phase(phase)
    (folder / "train").mkdir(parents=True, exist_ok=True)
    files = []
    for epoch in (0, 1):
        path = folder / "train" / f"model_epoch_{epoch:03d}.pth"
        path.write_bytes(b"weights" * (epoch + 1))
        told = {"path": path.name, "epoch": epoch, "val_loss": 0.5, "sha256": sha256_file(path)}
        files.append(told)
    names = {"best_val": files[0]["path"], "latest": files[1]["path"]}
    weights = {"phase": phase, "files": files, **names, "rows": 24}
    write_json_atomic(folder / "train/weights.json", weights)
    table = read_table(context.workspace / KPI_TABLE)
    ng = table["label"].map(is_ng).to_numpy()
    kinds = {}
    for kind, entry in zip(KINDS, files, strict=True):
        out = folder / "inference" / kind / "inference.csv"
        write_table(table.assign(siamese_score=scores(ng)), out)
        kinds[kind] = {
            "weights": entry["path"],
            "weights_sha256": entry["sha256"],
            "csv_sha256": sha256_file(out),
            "rows": len(table),
        }
    write_json_atomic(folder / "inference/inference.json", {"kinds": kinds})


def write_mined(context: Context) -> None:
    """Write what mining would leave: the first parts of the pool, sealed as it seals them."""
    out = context.run.phase("iter1") / "mining_filter"
    pool = read_table(context.run.synth_pool / "source_pool.csv")
    table = pool.drop(columns=["light", "filepath"]).head(6)
    write_table(table, out / "mining_pool.csv")
    write_json_atomic(
        out / "mining.json",
        {
            "strategy": "nearest",
            "parts": len(table),
            "kept_count": 6,
            "tables": sealed.seals(out, {"mining_pool.csv": len(table)}),
        },
    )


def make_scored_run(folder: Path, *, top_k: int = 50, min_recall: float = 1.0) -> Context:
    """Return a run whose first lap is routed, its training table assembled and validated."""
    workspace = make_tiny_workspace(folder, kpi=60, ng_every=3, lights=("SolderLight", "White"))
    context = Context(Run(workspace, RUN))
    stage_pool(context, "siglip")
    write_scores(context, "baseline")
    evaluate(context, "baseline", min_recall)
    measure_parts(context)
    rca(context, "baseline", min_recall, top_k)
    route(context, "iter1", "pregen", [], [])
    write_mined(context)
    assemble(context, "iter1")
    validate(context, "iter1", "warn")
    return context
