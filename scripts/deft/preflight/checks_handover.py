"""What a run that NVIDIA's tools began hands over: what is taken, and what contradicts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deft.core import layout
from deft.core.errors import HardStop
from deft.core.files import sha256_file
from deft.kpi.evaluation import read_scores
from deft.kpi.operating_point import at_recall, sweep
from deft.pool.pregen.listing import paired_pregen
from deft.preflight.check import Check, Context, ok, stopped, warn
from deft.run.handover import (
    KEPT_DIR,
    baseline_of,
    given_weights,
    kept_place,
    not_ours_yet,
    same_target,
    settings_of,
    staged_elsewhere,
    trained_laps,
)
from deft.run.state import STATE_FILE
from deft.run.state_format import is_phase
from deft.settings.kpi_target import parse_kpi
from deft.tables.changenet_table import SCORE_COLUMN, is_ng, read_table

PATHS = {
    "specs_file": layout.SPEC,
    "training_csv": layout.BASE_TABLE,
    "validation_csv": layout.VALIDATION_TABLE,
    "kpi_test_csv": layout.KPI_TABLE,
}
FAR_TOLERANCE_PP = 0.05  # a FAR that was written down with one digit


def checks(ctx: Context) -> Iterator[Check]:
    """Yield what is taken of a state or a pool that other tools made."""
    try:
        state, pool = not_ours_yet(ctx.run_dir), staged_elsewhere(ctx.run_dir)
    except HardStop:
        return  # the check `resume` tells of a state that cannot be read
    if state:
        yield from _each(
            (
                ("handover_settings", _settings),
                ("handover_inputs", _inputs),
                ("handover_baseline", _baseline),
                ("handover_laps", _laps),
            ),
            ctx,
            state,
        )
    if pool:
        yield from _each((("handover_pool", _pool),), ctx, pool)


def _each(topics: Any, ctx: Context, told: dict[str, Any]) -> Iterator[Check]:
    for id, check in topics:
        try:
            yield from check(id, ctx, told)
        except HardStop as stop:
            stop.file = str(ctx.run_dir / STATE_FILE) if stop.file == STATE_FILE else stop.file
            yield stopped(id, stop)


def _settings(id: str, ctx: Context, state: dict[str, Any]) -> Iterator[Check]:
    """Its settings, beside those that the user set himself."""
    taken, file = settings_of(state), ctx.run_dir / STATE_FILE
    metric = ((state.get("config") or {}).get("mining_filter") or {}).get("metric")
    if metric not in (None, "cosine"):
        raise HardStop(
            "config_invalid",
            f"config.mining_filter.metric is {metric!r}: this loop mines by cosine alone",
            file=file,
            fix="write cosine there, with a min_similarity that is one of cosines",
        )
    other = [
        f"{name}: the state says {value!r}, the configuration {ctx.config[name]!r}"
        for name, value in taken.items()
        if not _same(name, value, ctx.config[name])
    ]
    if other:
        raise HardStop(
            "config_invalid",
            "the run was begun with other settings: " + "; ".join(other),
            file=file,
            fix="leave these out of the configuration, or change them in the state too",
        )
    if taken:
        told = ", ".join(f"{name} {value!r}" for name, value in taken.items())
        yield ok(id, f"taken from {STATE_FILE}: {told}")
    mode = ((state.get("config") or {}).get("anomalygen") or {}).get("mode")
    if mode not in (None, "pregen_ingest"):
        yield warn(
            "handover_anomalygen",
            f"the state asks for AnomalyGen ({mode}); this loop generates no pictures, it takes "
            f"the pairs of {layout.PREGEN_DIR}",
            "put the generated pairs there",
        )
    batch = (state.get("config") or {}).get("batch_size")
    if ctx.spec is not None and batch not in (None, ctx.spec.dataset.classify.batch_size):
        yield warn(
            "handover_batch_size",
            f"the state says batch_size {batch!r}, the spec "
            f"{ctx.spec.dataset.classify.batch_size}: the spec's counts",
            f"to train with the other, write it into {layout.SPEC}",
        )


def _same(name: str, value: Any, here: Any) -> bool:
    if name != "kpi":
        return bool(value == here)
    return same_target(parse_kpi(value), parse_kpi(here))


def _inputs(id: str, ctx: Context, state: dict[str, Any]) -> Iterator[Check]:
    """Its tables and pictures are those that this loop reads."""
    config = state.get("config") or {}
    wanted = {key: ctx.workspace / name for key, name in PATHS.items()}
    wanted["images_dir"] = layout.image_root(ctx.workspace)
    other = [
        f"{key} is {config[key]}, this loop reads {path}"
        for key, path in wanted.items()
        if config.get(key) and os.path.realpath(config[key]) != os.path.realpath(path)
    ]
    if other:
        raise HardStop(
            "config_invalid",
            "the state speaks of other inputs: " + "; ".join(other),
            file=ctx.run_dir / STATE_FILE,
            fix="put the files where this loop reads them (or links to them), and correct the "
            "state's config",
        )
    if any(config.get(key) for key in wanted):
        yield ok(id, "the state's tables, spec and pictures are those of this workspace")


def _baseline(id: str, ctx: Context, state: dict[str, Any]) -> Iterator[Check]:
    """A FAR that it tells of the baseline is that of the inference table it names."""
    entry = baseline_of(state)
    weights = given_weights(ctx.run_dir, ctx.workspace)
    if weights is None or not weights.is_file():
        return  # what the check `resume` tells
    far, named = entry.get("far_pct"), entry.get("inference_csv")
    after = entry.get("stage_completed") != "train"
    again = "; inference and what follows are made again from it" if after else ""
    said = f"the baseline's weights are taken: {weights}{again}"
    if not isinstance(far, int | float) or not isinstance(named, str):
        yield ok(id, said)
        return
    table = kept_place(ctx.run_dir, ctx.workspace / named)
    if not table.is_file():
        yield warn(id, f"{said}; its FAR of {far:g}% is not compared: {named} is no file")
        return
    scores = read_scores(table)
    rows = len(read_table(ctx.workspace / layout.KPI_TABLE))
    ng = scores["label"].map(is_ng).to_numpy()
    recall = parse_kpi(ctx.config["kpi"]).min_recall
    found = at_recall(sweep(scores[SCORE_COLUMN].to_numpy(), ng), recall)["far_pct"]
    if len(scores) != rows or abs(found - far) > FAR_TOLERANCE_PP:
        raise HardStop(
            "score_invalid",
            f"the state says FAR {far:g}% for the baseline; its inference table gives {found:.4g}% "
            f"at recall {recall:.4%}, with {len(scores)} rows where the KPI table has {rows}",
            file=table,
            fix="if the weights are the right ones, remove far_pct and inference_csv from "
            "iterations.baseline of the state: both are made again; else correct best_ckpt_path",
        )
    yield ok(id, f"{said}; its FAR of {far:g}% is what its inference table gives")


def _laps(id: str, ctx: Context, state: dict[str, Any]) -> Iterator[Check]:
    """Laps that were trained elsewhere cannot be gone on from; unfinished ones are made again."""
    trained = trained_laps(state)
    if trained:
        raise HardStop(
            "config_invalid",
            f"the state has trained laps ({', '.join(trained)}): what they were trained on is not "
            "sealed, so this loop cannot go on from them",
            file=ctx.run_dir / STATE_FILE,
            fix="finish the run with the tools that began it; or remove these laps from "
            "iterations, and the loop goes on from the baseline; or begin a new run whose "
            f"baseline has the weights of {trained[-1]} as its best_ckpt_path",
        )
    begun = sorted(p.name for p in ctx.run_dir.iterdir() if p.is_dir() and is_phase(p.name))
    if begun:
        yield ok(id, f"made again; what is there moves to {KEPT_DIR}/: {', '.join(begun)}")


def _pool(id: str, ctx: Context, manifest: dict[str, Any]) -> Iterator[Check]:
    """The staged pairs are the pairs that are there, and no row of the pool was lost."""
    folder = (ctx.run_dir / layout.MANIFEST_FILE).parent
    ng, good = paired_pregen(ctx.workspace)
    count = 0
    for staged, files in (("synth_ng", ng), ("synth_ok", good)):
        found = sorted(p for p in (folder / "images" / staged).glob("*") if p.is_file())
        count += len(found)
        if len(found) != len(files):
            raise _mutated(folder / "images" / staged, f"{len(found)} pictures, {len(files)} pairs")
        for picture in found:
            source = _source(picture, files)
            if source is None:
                raise _mutated(picture, "no pre-generated picture has this name")
            if source.suffix == picture.suffix and sha256_file(source) != sha256_file(picture):
                raise _mutated(picture, f"it is not {source.name} as it is now")
    told = manifest.get("counts")
    rows = told.get("real_rows") if isinstance(told, dict) else None
    have = len(read_table(ctx.workspace / layout.POOL_TABLE))
    if isinstance(rows, int) and have < rows:
        raise _mutated(
            ctx.workspace / layout.POOL_TABLE,
            f"{rows} rows were staged, {have} are there; the pool only grows",
        )
    more = f", {have - rows} row(s) more than then" if isinstance(rows, int) and have > rows else ""
    yield ok(
        id,
        f"a pool that other tools staged: {count} pictures as the pairs are now, {have} pool "
        f"rows{more}; it is staged again with its seals, theirs moves to {KEPT_DIR}/synth_pool"
        + (
            "; its embeddings are not taken, no digest says of which weights they are"
            if manifest.get("source_embeddings_parquet")
            else ""
        ),
    )


def _source(picture: Path, files: dict[str, Path]) -> Path | None:
    """Return the picture that was staged under a name: its stem and a light."""
    stem = picture.stem
    while stem:
        if stem in files:
            return files[stem]
        stem = stem.rpartition("_")[0]
    return None


def _mutated(file: Path, why: str) -> HardStop:
    return HardStop(
        "pregen_mutated",
        f"the pool that other tools staged in this run is not that of this workspace: {why}",
        file=file,
        fix="restore the inputs; or, to stage them as they are now, delete the run's synth_pool/",
    )
