"""Stage the source pool."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
from deft.stages.context import Context
from deft.tables.changenet_table import read_table, write_table
from deft.tables.coordinates import read_pool
from deft.tables.labels import first_spellings
from deft.tables.sealed import TABLES, seals

SPELLED_IN = (layout.KPI_TABLE, layout.BASE_TABLE, layout.VALIDATION_TABLE)  # the first counts
GROUP_ROWS = 65_536  # of a row group of the pool, so that a shard reads little beside its own


def stage_pool(context: Context, encoder: str) -> str:
    """Write ``synth_pool/``: pictures, ``sdg_rows.csv``, ``source_pool``, ``manifest.json``."""
    out = context.root / context.relative(context.run.synth_pool)
    parts = pregen_parts(context.workspace, context.lights, context.ext)
    check_allocation(parts, context.workspace)
    real = read_pool(context.workspace, pool_prefix(context.run.dir))
    sdg = stage_parts(
        parts,
        out / "images",
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
            file=out / "sdg_rows.csv",
        )
    write_table(sdg_light[list(SOURCE_COLUMNS)], out / "sdg_rows.csv")
    write_table(pool[list(SOURCE_COLUMNS)], out / "source_pool.csv")
    table = pa.Table.from_pandas(pool[list(SOURCE_COLUMNS)], preserve_index=False)
    table = with_root(table, context.root.resolve())  # the root of `per_light`
    replace_atomically(
        out / "source_pool.parquet", lambda p: pq.write_table(table, p, row_group_size=GROUP_ROWS)
    )
    facts[TABLES] = seals(
        out,
        {
            "sdg_rows.csv": len(sdg_light),
            "source_pool.csv": len(pool),
            "source_pool.parquet": len(pool),
        },
    )
    write_json_atomic(out / "manifest.json", facts)
    counts = facts["counts"]
    return f"{counts['real_rows']} real + {counts['sdg_rows']} synthetic rows"


def label_spellings(
    context: Context, pool_labels: Iterable[str], parts: Sequence[SynthPart]
) -> dict[str, str]:
    """Return how the user writes each label of the run's inputs."""
    tables = [read_table(context.workspace / name)["label"] for name in SPELLED_IN]
    made = spelled(parts, read_defect_spec(context.workspace))
    return first_spellings(*tables, pool_labels, made)
