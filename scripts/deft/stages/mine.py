"""Mine the pool for the weak samples of a lap."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from deft.core.files import read_json, replace_atomically, write_json_atomic, write_text_atomic
from deft.core.layout import phase_number
from deft.embedding.embed import (
    check_same_encoder,
    encoder_facts,
    open_embeddings,
    write_embeddings,
)
from deft.embedding.encoders.base import Encoder
from deft.kpi.decision import CUTOFF, stopped_by_cutoff
from deft.mining import cutoff as cut
from deft.mining import history, neighbours
from deft.mining.approximate import Search
from deft.mining.strategies import Lap, Rules, select
from deft.mining.strategies.rows import advice, fresh_parts
from deft.run.roots import ROOT_KEY, absolute, with_root
from deft.run.stage_files import read, written
from deft.run.state import update_phase
from deft.stages.context import Context
from deft.stages.mine_inputs import (
    MineOptions,
    embed_targets,
    left_out,
    mendable,
    pictures_of,
    with_cutoff,
)
from deft.stages.run_tables import Assembled, leak_check, previous_table, routed_gaps
from deft.tables.changenet_table import COLUMNS, write_table
from deft.tables.corrected import is_out, matches, relabelled
from deft.tables.corrections import POOL
from deft.tables.labels import clean_label, shown
from deft.tables.leakage import Side
from deft.tables.sealed import TABLES, read_parquet, seals
from deft.tao.embed import TaoEncoder

SEED_STEP = 1_000_003  # iterations of one seed draw independently


@dataclass(frozen=True)
class Files:
    """What :func:`mine` reads and writes."""

    gaps: Path = read("the routed gaps")
    manifest: Path = read("manifest.json of the staged pool, which seals its table")
    pool: Path = read("source_pool.parquet")
    embedded: Path = read("source_embeddings.json, which seals the embeddings")
    embeddings: Path = read("source_embeddings.parquet")
    facts: Path = written("mining.json; the mined tables and the summary go beside it")
    previous: Path | None = read("assembly.json of the lap before", default=None)
    previous_combined: Path | None = read("its training table", default=None)
    previous_provenance: Path | None = read("its provenance", default=None)
    start: Path | None = read(
        "start.json of a run that goes on from a promoted model, its tables beside it",
        default=None,
    )
    previous_mining: Path | None = read("mining.json of the lap before", default=None)
    previous_history: Path | None = read("mining history up to the lap before", default=None)
    history: Path | None = written(
        "mining history up to this lap; its candidates and summary go beside it", default=None
    )


def mine(
    context: Context, files: Files, phase: str, encoder: Encoder | TaoEncoder, options: MineOptions
) -> str:
    """Write ``mining_filter/`` of a lap."""
    out = files.facts.parent
    routed = routed_gaps(context, files.gaps)
    gaps = context.paths_here(read_parquet(routed), routed)
    targets = gaps.drop_duplicates("filepath").reset_index(drop=True)
    targets, beyond = mendable(targets, options.causes)
    # From here on labels have their one form; what is shown is spelled as the user does.
    targets = targets.assign(label=targets["label"].map(clean_label))
    spelling = read_json(files.manifest).get("label_spelling", {})
    staged = context.checked_by(files.manifest, files.pool.name, rule="stage_pool")
    pool = context.paths_here(read_parquet(staged), staged)
    corrections = context.corrections(POOL)

    def of_this_encoder(path: Path) -> None:
        own = {"name": encoder.name, "digest": encoder.digest}
        check_same_encoder(encoder_facts(path), own, path)

    source = context.checked_by(
        files.embedded,
        files.embeddings.name,
        rule="embed_pool",
        rows="rows",
        explain=of_this_encoder,
    )
    of_this_encoder(source)
    embedded, vectors, source_meta = open_embeddings(source)
    # Vectors are in the order of their own table.
    pool = neighbours.in_order_of(pool, context.paths_here(embedded, source)["filepath"])
    del embedded  # its other columns are the pool's
    out_of = np.zeros(len(pool), bool)
    if corrections:
        each = matches(pool, corrections, context.workspace)
        pool = relabelled(pool, each, clean=True)
        out_of[:] = [is_out(one) for one in each]
    labels_there = set(pool["label"].unique())
    warnings = neighbours.coverage_warnings(set(targets["label"]), labels_there, spelling)
    warnings += [
        f"mining_label_quota names {shown(label, spelling)!r}, which no pool sample has"
        for label in sorted(set(options.rules.label_quota) - labels_there)
    ]
    if targets.empty:
        warnings += ["no weak sample was routed to mining: nothing has neighbours"]
    for warning in warnings:
        print(f"warning: {warning}", flush=True)
    target_vectors = (
        np.zeros((0, vectors.dim), np.float32)
        if targets.empty
        else embed_targets(encoder, list(targets["filepath"]), options)
    )
    before = Assembled.of(files.previous, files.previous_combined, files.previous_provenance)
    previous, _ = previous_table(context, before, files.start)
    options, by_rule = with_cutoff(context, encoder, options, previous)
    cutoff = float(options.min_similarity)
    root = {ROOT_KEY: absolute(context.root).encode()}
    write_embeddings(out / "target_embeddings.parquet", targets, target_vectors, encoder, root)
    search = Search(options.search, options.memory_mb, options.device)
    taken = frozenset(neighbours.part_keys(previous))
    rules = replace(options.rules, min_similarity=cutoff)
    gone = left_out(context, pool, rules, taken, out_of)
    pairs = neighbours.knn_pairs(
        targets,
        target_vectors,
        pool,
        vectors,
        k=options.top_k,
        search=search,
        left_out=gone,
    )
    if search.facts:
        print(search.sentence(), flush=True)
    nearest = neighbours.select_nearest(pairs, pool, cutoff)
    would_be_new = fresh_parts(nearest.rows, taken)
    budget = would_be_new if options.budget is None else options.budget
    seed = options.seed * SEED_STEP + phase_number(phase)
    with context.pictures_kept():  # of places
        selection = select(
            options.strategy,
            pool,
            vectors,
            pairs,
            rules,
            Lap(taken, budget, seed, gone),
            pictures_of(context, pool) if options.strategy == "places" else None,
            context.picture_levels,
        )
    found = selection
    earlier, selection, drops = _novel(context, files, phase, found)
    survivors = selection.rows.drop_duplicates(["input_path", "object_name"]).reset_index(drop=True)
    survivors = survivors[[*COLUMNS, "provenance"]]
    warnings += _leakage(context, survivors, out, options)
    fresh = ~neighbours.are_taken(survivors, taken)
    similarity = neighbours.similarity_facts(pairs, cutoff)
    later = neighbours.yield_warning(int(np.sum(fresh)), _new_parts(files.previous_mining))
    if options.strategy == "nearest":  # the others do not look at the cutoff
        later += neighbours.cutoff_warning(similarity, cutoff)
    rejected = cut.rejected_facts(pairs, pool, taken, cutoff)
    if drops and (told := history.advice(drops)):
        later += [told]
    for warning in later:
        print(f"warning: {warning}", flush=True)
    warnings += later
    facts = {
        **{k: v for k, v in asdict(options).items() if k in ("strategy", "top_k", "seed")},
        "encoder": source_meta,
        "targets": len(targets),
        "candidate_count": selection.candidate_count,
        "kept_count": selection.kept_count,
        "rejected_count": selection.rejected_count,
        "similarity_threshold": cutoff,
        "similarity": similarity,
        "parts": len(survivors),
        "new_rows": int(np.sum(fresh)),
        "new_real": int((survivors["provenance"][fresh] == "real").sum()),
        "new_sdg": int((survivors["provenance"][fresh] == "sdg").sum()),
        "new_rows_of_nearest": would_be_new,
        "labels": {k: int(v) for k, v in survivors["label"].value_counts().sort_index().items()},
        "warnings": warnings,
        **({"similarity_rule": by_rule} if by_rule else {}),
        **({"rejected": rejected} if options.strategy == "nearest" else {}),
        **({"beyond_rows": beyond} if beyond else {}),
        **({"search": search.facts} if search.facts else {}),
        **({"history": drops} if drops else {}),
        **({"corrections": [one.as_dict() for one in corrections]} if corrections else {}),
        **rule_facts(options, budget),
    }
    if options.strategy != "none":
        free = neighbours.free_parts(pool, taken)
        wanted = budget if options.strategy != "nearest" else 0
        cut_off = stopped_by_cutoff(facts)
        facts["warnings"] += (
            [f"{CUTOFF}: {cut.rejected_text(rejected)}"]
            if cut_off
            else advice(options.strategy, facts["new_rows"], wanted, free)
        )
    labels = neighbours.label_table(pairs, selection, cutoff)
    labels = labels.assign(label=[shown(label, spelling) for label in labels.get("label", [])])
    _write(context, out, selection, survivors, pairs, facts, labels)
    _write_history(context, files, phase, found, selection, (earlier, drops), options)
    update_phase(
        context.run.dir,
        phase,
        stage_completed="data_mining",
        mining_mined_parquet=context.absolute(out / "mined.parquet"),
        mining_mined_count=facts["parts"],
    )
    return (
        f"{options.strategy}: kept {facts['kept_count']} of {facts['candidate_count']} candidates, "
        f"{facts['new_rows']} new parts ({facts['new_real']} real, {facts['new_sdg']} synthetic)"
    )


Entries = list[dict[str, Any]]  # of the mining history


def _novel(
    context: Context, files: Files, phase: str, found: neighbours.Selection
) -> tuple[Entries, neighbours.Selection, dict[str, int]]:
    """Return the history before the lap, what it leaves of the choice, and the counts of both."""
    if files.history is None:
        return [], found, {}
    earlier = history.read_ledger(files.previous_history, context.root, phase_number(phase))
    chosen, counts = history.novel(list(found.rows["filepath"]), earlier)
    return earlier, replace(found, rows=found.rows.iloc[chosen]), counts


def _write_history(
    context: Context,
    files: Files,
    phase: str,
    found: neighbours.Selection,
    selection: neighbours.Selection,
    known: tuple[Entries, dict[str, int]],
    options: MineOptions,
) -> None:
    if files.history is None:
        return
    here = [files.history.with_name(name) for name in history.BESIDE]
    _write_paths(context, here[0], found.rows)
    history.write_history(
        files.history,
        context.run.dir / files.history.name,
        history.LapFiles(*(Path(context.absolute(path)) for path in here)),
        known[0],
        list(selection.rows["filepath"]),
        known[1],
        lap=phase_number(phase),
        top_k=options.top_k,
        root=context.root,
    )


def _write_paths(context: Context, path: Path, rows: pd.DataFrame) -> int:
    table = with_root(pa.table({"filepath": pa.array(rows["filepath"], pa.string())}), context.root)
    replace_atomically(path, lambda p: pq.write_table(table, p))
    return len(table)


def _new_parts(record: Path | None) -> int | None:
    return None if record is None else read_json(record, {"new_rows": int})["new_rows"]


def rule_facts(options: MineOptions, budget: int) -> dict[str, Any]:
    """Return what ``neighbours.json`` says beyond the contract: rules that are not the defaults."""
    changed = {k: v for k, v in asdict(options.rules).items() if v != getattr(Rules(), k)}
    changed.pop("min_similarity", None)  # the file has it already
    plain = options.strategy in ("nearest", "random", "none")
    return {} if plain and not changed else {"budget": budget, "rules": asdict(options.rules)}


def _leakage(context: Context, rows: pd.DataFrame, out: Any, options: MineOptions) -> list[str]:
    if rows.empty:
        return []
    side = Side("mined rows", out / "mining_pool.csv", rows)
    return leak_check(context, side, options.content_leakage)


def _write(
    context: Context,
    out: Path,
    selection: neighbours.Selection,
    survivors: pd.DataFrame,
    pairs: pd.DataFrame,
    facts: dict[str, Any],
    labels: pd.DataFrame,
) -> None:
    mined = _write_paths(context, out / "mined.parquet", selection.rows)
    arrow = with_root(pa.Table.from_pandas(pairs, preserve_index=False), context.root)
    replace_atomically(out / "knn_pairs.parquet", lambda p: pq.write_table(arrow, p))
    write_table(survivors, out / "mining_pool.csv")
    names = ("strategy", "targets", "candidate_count", "kept_count", "rejected_count")
    summary = {n: facts[n] for n in (*names, "similarity_threshold", "new_rows")}
    write_table(pd.DataFrame([summary]), out / "knn_summary.csv")
    write_text_atomic(out / "mining_summary.txt", neighbours.summary_text(facts, labels))
    written = {
        "target_embeddings.parquet": facts["targets"],
        "mined.parquet": mined,
        "knn_pairs.parquet": len(pairs),
        "mining_pool.csv": len(survivors),
        "knn_summary.csv": 1,
    }
    facts[TABLES] = seals(out, written)
    facts["per_label"] = labels.astype(object).where(labels.notna(), None).to_dict("records")
    write_json_atomic(out / "mining.json", facts)
