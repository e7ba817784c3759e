"""Stage the source pool."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from deft.core import layout
from deft.core.errors import HardStop
from deft.core.files import replace_atomically, write_json_atomic
from deft.pool.digest import pool_prefix
from deft.pool.pregen.parts import SynthPart, check_allocation, pregen_parts, spelled
from deft.pool.pregen.spec import read_defect_spec
from deft.pool.source_pool import (
    SOURCE_COLUMNS,
    build_source_pool,
    manifest,
    per_light,
    stage_parts,
)
from deft.run.roots import with_root
from deft.run.stage_files import read, written
from deft.stages.context import Context
from deft.tables.changenet_table import read_table, write_table
from deft.tables.coordinates import read_pool
from deft.tables.labels import first_spellings
from deft.tables.sealed import TABLES, seals

SPELLED_IN = (layout.KPI_TABLE, layout.BASE_TABLE, layout.VALIDATION_TABLE)  # the first counts
GROUP_ROWS = 65_536  # of a row group of the pool, so that a shard reads little beside its own


@dataclass(frozen=True)
class Files:
    """What :func:`stage_pool` reads and writes; all that is written lies in one folder."""

    gate: Path = read("the gate of the run, the approved checks beside it")
    manifest: Path = written("manifest.json, which seals the tables")
    sdg: Path = written("the rows of pre-generated pairs")
    table: Path = written("the pool as CSV")
    parquet: Path = written("the pool as parquet")
    images: Path = written("folder of the pre-generated pairs' pictures")


def stage_pool(context: Context, files: Files, encoder: str) -> str:
    """Write ``synth_pool/``: pictures, ``sdg_rows.csv``, ``source_pool``, ``manifest.json``."""
    parts = pregen_parts(context.workspace, context.lights, context.ext)
    check_allocation(parts, context.workspace)
    real = read_pool(context.workspace, pool_prefix(files.gate.parent.parent))
    sdg = stage_parts(
        parts,
        Path(context.absolute(files.images)),
        context.root,
        context.lights,
        context.ext,
        context.picture_levels,
    )
    sdg_light = per_light(sdg.assign(provenance="sdg"), context.root, context.lights, context.ext)
    pool, doubled = build_source_pool(real, sdg, context.root, context.lights, context.ext)
    facts = manifest(
        pool,
        sdg,
        doubled,
        workspace=context.workspace,
        lights=context.lights,
        encoder=encoder,
        spellings=label_spellings(context, real["label"], parts),
    )
    staged = facts["counts"]["sdg_rows"]
    if staged != len(parts) * len(context.lights):
        raise HardStop(
            "allocation_mismatch",
            f"{len(parts)} pre-generated pair(s) became {staged} row(s)",
            file=files.sdg,
        )
    write_table(sdg_light[list(SOURCE_COLUMNS)], files.sdg)
    write_table(pool[list(SOURCE_COLUMNS)], files.table)
    table = pa.Table.from_pandas(pool[list(SOURCE_COLUMNS)], preserve_index=False)
    table = with_root(table, context.root.resolve())  # the root of `per_light`
    replace_atomically(files.parquet, lambda p: pq.write_table(table, p, row_group_size=GROUP_ROWS))
    rows = {files.sdg.name: len(sdg_light)} | dict.fromkeys(
        (files.table.name, files.parquet.name), len(pool)
    )
    facts[TABLES] = seals(files.manifest.parent, rows)
    write_json_atomic(files.manifest, facts)
    counts = facts["counts"]
    return f"{counts['real_rows']} real + {counts['sdg_rows']} synthetic rows"


def label_spellings(
    context: Context, pool_labels: Iterable[str], parts: Sequence[SynthPart]
) -> dict[str, str]:
    """Return how the user writes each label of the run's inputs."""
    tables = [read_table(context.workspace / name)["label"] for name in SPELLED_IN]
    made = spelled(parts, read_defect_spec(context.workspace))
    return first_spellings(*tables, pool_labels, made)
