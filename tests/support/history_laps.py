"""Laps of history-aware mining on a tiny workspace, with an encoder that costs nothing."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from spy_encoder import SpyEncoder
from stage_calls import assemble, embed_pool, embed_shard, stage_pool
from tiny_workspace import make_tiny_workspace

from deft.core.layout import BASELINE, Run, phase_name, previous_phase
from deft.stages.context import Context
from deft.stages.mine import Files, mine
from deft.stages.mine_inputs import MineOptions

TOP_K = 3
WEAK = {1: (0, 9), 2: (6, 15), 3: (0, 15)}  # which KPI pictures each lap is weak at: they overlap


def staged(path: Path, run: str = "run_1") -> Context:
    """Return a run whose pool is staged and embedded."""
    workspace = make_tiny_workspace(path, pool=45, kpi=16, base=6, validation=6)
    context = Context(Run(workspace, run))
    stage_pool(context, "spy")
    embed_shard(context, SpyEncoder(), "1-of-1", None, 1)
    embed_pool(context, [context.run.synth_pool / "shards/1-of-1.parquet"])
    return context


def folder(context: Context, lap: int) -> Path:
    """Return ``mining_filter/`` of a lap."""
    return context.run.phase(phase_name(lap)) / "mining_filter"


def mined_lap(context: Context, lap: int, *, history: bool = True) -> Path:
    """Mine and assemble a lap; return its ``mining_filter/``."""
    phase, run = phase_name(lap), context.run
    pictures = sorted((context.workspace / "kpi/images/kpi").rglob("*.png"))[slice(*WEAK[lap])]
    gaps = pd.DataFrame({"filepath": [str(picture.absolute()) for picture in pictures]})
    gaps["label"] = [("PASS", "bridge", "missing")[i % 3] for i in range(len(gaps))]
    gaps["light"], gaps["siamese_score"], gaps["weakness"] = "SolderLight", 0.5, 0.1
    routed = run.routing(phase) / "mining_gaps.parquet"
    routed.parent.mkdir(parents=True, exist_ok=True)
    gaps.to_parquet(routed)
    out, pool = folder(context, lap), run.synth_pool
    before = None if previous_phase(phase) == BASELINE else run.phase(previous_phase(phase))
    name = previous_phase(phase)
    table = before and before / "dataset" / f"train_combined_{name}.csv"
    named = {
        "history": out / "mining_history.json",
        "previous_history": before and before / "mining_filter/mining_history.json",
    }
    files = Files(
        gaps=routed,
        manifest=pool / "manifest.json",
        pool=pool / "source_pool.parquet",
        embedded=pool / "source_embeddings.json",
        embeddings=pool / "source_embeddings.parquet",
        facts=out / "mining.json",
        previous=before and before / "dataset/assembly.json",
        previous_combined=table,
        previous_provenance=table and table.with_name(f"{table.stem}_provenance.csv"),
        previous_mining=before and before / "mining_filter/mining.json",
        **(named if history else {}),
    )
    out.mkdir(parents=True, exist_ok=True)
    mine(context, files, phase, SpyEncoder(), MineOptions("nearest", TOP_K, -1.0, 64, "warn", 0))
    assemble(context, phase)
    return out
