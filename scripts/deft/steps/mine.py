"""Mine the pool for a lap, assemble the next training table, validate it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from deft import layout, mining
from deft.assembly import assemble, first_combined, validate_combined
from deft.embedding import Encoder, check_same_encoder, read_embeddings, write_embeddings
from deft.files import read_json, replace_atomically, write_json_atomic, write_text_atomic
from deft.layout import phase_number, previous_phase
from deft.leakage import Side, check_leakage
from deft.pool_rows import base_rows
from deft.state import update_phase
from deft.steps.context import Context
from deft.steps.pool import EmbedProgress
from deft.tables import COLUMNS, in_contract_order, read_table, write_table

SEED_STEP = 1_000_003  # iterations of one seed draw independently


@dataclass(frozen=True)
class MineOptions:
    """Settings of a lap's mining."""

    strategy: str
    top_k: int
    min_similarity: float
    memory_mb: int
    content_leakage: str
    seed: int


def mine(context: Context, phase: str, encoder: Encoder, options: MineOptions) -> str:
    """Write ``mining_filter/`` of a lap."""
    out = context.run.phase(phase) / "mining_filter"
    gaps = pd.read_parquet(context.run.routing(phase) / "mining_gaps.parquet")
    targets = gaps.drop_duplicates("filepath").reset_index(drop=True)
    pool = pd.read_parquet(context.run.synth_pool / "source_pool.parquet")
    embedded, vectors, source_meta = read_embeddings(
        context.run.synth_pool / "source_embeddings.parquet"
    )
    check_same_encoder(
        source_meta,
        {"name": encoder.name, "digest": encoder.digest},
        context.run.synth_pool / "source_embeddings.parquet",
    )
    warnings = mining.coverage_warnings(set(targets["label"]), set(pool["label"]))
    for warning in warnings:
        print(f"warning: {warning}", flush=True)
    progress = EmbedProgress(len(targets), "embed weak samples")
    target_vectors = encoder.embed(list(targets["filepath"]), progress)
    progress.close()
    write_embeddings(out / "target_embeddings.parquet", targets, target_vectors, encoder)
    pairs = mining.knn_pairs(
        targets, target_vectors, embedded, vectors, k=options.top_k, memory_mb=options.memory_mb
    )
    previous, _ = previous_table(context, phase)
    taken = set(mining.part_keys(previous))
    nearest = mining.select_nearest(pairs, pool, options.min_similarity)
    would_be_new = new_parts(nearest.rows, taken)
    selection = nearest
    if options.strategy == "random":
        seed = options.seed * SEED_STEP + phase_number(phase)
        selection = mining.select_random(pool, would_be_new, taken, seed)
    elif options.strategy == "none":
        selection = mining.Selection(pool.iloc[:0], 0, 0)
    warnings += mining.yield_warning(selection.kept_count, _previous_yield(context, phase))
    survivors = selection.rows.drop_duplicates(["input_path", "object_name"]).reset_index(drop=True)
    survivors = survivors[[*COLUMNS, "provenance"]]
    warnings += _leakage(context, survivors, out, options)
    fresh = np.array([key not in taken for key in mining.part_keys(survivors)], dtype=bool)
    facts = {
        **{k: v for k, v in asdict(options).items() if k in ("strategy", "top_k", "seed")},
        "encoder": source_meta,
        "targets": len(targets),
        "candidate_count": selection.candidate_count,
        "kept_count": selection.kept_count,
        "rejected_count": selection.rejected_count,
        "similarity_threshold": options.min_similarity,
        "parts": len(survivors),
        "new_rows": int(np.sum(fresh)),
        "new_real": int((survivors["provenance"][fresh] == "real").sum()),
        "new_sdg": int((survivors["provenance"][fresh] == "sdg").sum()),
        "new_rows_of_nearest": would_be_new,
        "labels": {k: int(v) for k, v in survivors["label"].value_counts().sort_index().items()},
        "warnings": warnings,
    }
    labels = mining.label_table(pairs, selection, options.min_similarity)
    _write(out, selection, survivors, pairs, facts, labels)
    update_phase(
        context.run.dir,
        phase,
        stage_completed="data_mining",
        mining_mined_parquet=str(context.root / context.relative(out / "mined.parquet")),
        mining_mined_count=facts["parts"],
    )
    return (
        f"{options.strategy}: kept {facts['kept_count']} of {facts['candidate_count']} candidates, "
        f"{facts['new_rows']} new parts ({facts['new_real']} real, {facts['new_sdg']} synthetic)"
    )


def new_parts(rows: pd.DataFrame, taken: set[tuple[str, ...]]) -> int:
    """Return how many distinct parts of ``rows`` are not in the training table yet."""
    return len(set(mining.part_keys(rows)) - taken)


def previous_table(context: Context, phase: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the training table before a lap, relative to the workspace, and its provenance."""
    before = previous_phase(phase)
    if before == layout.BASELINE:
        base = read_table(context.workspace / layout.BASE_TABLE)
        return first_combined(base, context.workspace)
    folder = context.run.phase(before) / "dataset"
    table = read_table(folder / f"train_combined_{before}.csv")
    provenance = pd.read_csv(folder / f"train_combined_{before}_provenance.csv")
    return table, provenance


def _previous_yield(context: Context, phase: str) -> int | None:
    path = context.run.phase(previous_phase(phase)) / "mining_filter" / "mining.json"
    return read_json(path)["kept_count"] if path.exists() else None


def _leakage(context: Context, rows: pd.DataFrame, out: Any, options: MineOptions) -> list[str]:
    if rows.empty:
        return []
    side = Side("mined rows", out / "mining_pool.csv", rows)
    return leak_check(context, side, options.content_leakage)


def leak_check(context: Context, side: Side, content_leakage: str) -> list[str]:
    """Compare rows with the validation and the KPI set; return warnings or stop."""
    held_out = [
        Side(
            name,
            context.workspace / table,
            base_rows(read_table(context.workspace / table), context.workspace),
        )
        for name, table in (("validation", layout.VALIDATION_TABLE), ("KPI", layout.KPI_TABLE))
    ]
    return check_leakage(
        [side],
        held_out,
        workspace=context.workspace,
        lights=context.lights,
        ext=context.ext,
        content_leakage=content_leakage,
    )


def _write(
    out: Any,
    selection: mining.Selection,
    survivors: pd.DataFrame,
    pairs: pd.DataFrame,
    facts: dict[str, Any],
    labels: pd.DataFrame,
) -> None:
    mined = pa.table({"filepath": pa.array(selection.rows["filepath"], pa.string())})
    replace_atomically(out / "mined.parquet", lambda p: pq.write_table(mined, p))
    arrow = pa.Table.from_pandas(pairs, preserve_index=False).replace_schema_metadata()
    replace_atomically(out / "knn_pairs.parquet", lambda p: pq.write_table(arrow, p))
    write_table(survivors, out / "mining_pool.csv")
    names = ("strategy", "targets", "candidate_count", "kept_count", "rejected_count")
    summary = {n: facts[n] for n in (*names, "similarity_threshold", "new_rows")}
    write_table(pd.DataFrame([summary]), out / "knn_summary.csv")
    write_text_atomic(out / "mining_summary.txt", mining.summary_text(facts, labels))
    facts["per_label"] = labels.astype(object).where(labels.notna(), None).to_dict("records")
    write_json_atomic(out / "mining.json", facts)


def assemble_lap(context: Context, phase: str) -> str:
    """Write ``dataset/train_combined_iterN.csv``, its provenance and ``assembly.json``."""
    folder = context.run.phase(phase)
    facts = read_json(folder / "mining_filter" / "mining.json")
    mined = read_table(folder / "mining_filter" / "mining_pool.csv")
    previous, provenance = previous_table(context, phase)
    result = assemble(previous, provenance, in_contract_order(mined), phase_number(phase))
    if facts["strategy"] == "none":
        result.facts["draws_per_epoch"] = len(previous) + facts["new_rows_of_nearest"]
    out = folder / "dataset"
    write_table(result.table, out / f"train_combined_{phase}.csv")
    write_table(result.provenance, out / f"train_combined_{phase}_provenance.csv")
    write_json_atomic(out / "assembly.json", result.facts)
    return f"{result.facts['previous_rows']} + {result.facts['new_rows']} rows"


def validate_lap(context: Context, phase: str, content_leakage: str) -> str:
    """Write ``dataset/validation.json``, or stop before the training is paid for."""
    out = context.run.phase(phase) / "dataset"
    path = out / f"train_combined_{phase}.csv"
    facts = validate_combined(path, context.workspace, context.lights, context.ext)
    table = read_table(path)
    facts["warnings"] = leak_check(context, Side("training table", path, table), content_leakage)
    facts["assembly"] = read_json(out / "assembly.json")
    write_json_atomic(out / "validation.json", facts)
    update_phase(
        context.run.dir,
        phase,
        stage_completed="data_merge",
        combined_training_csv=str(context.root / context.relative(path)),
        provenance_csv=str(
            context.root / context.relative(out / f"train_combined_{phase}_provenance.csv")
        ),
    )
    grown = facts["assembly"]
    return (
        f"{grown['previous_rows']} + {grown['new_rows']} = {grown['rows']} training rows "
        f"({grown['duplicates']} already there), valid"
    )
