"""Stage and embed the source pool."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from deft.embedding import Encoder, OpenClipEncoder, write_embeddings
from deft.errors import HardStop
from deft.files import replace_atomically, sha256_file, write_json_atomic
from deft.layout import BASELINE
from deft.pool import (
    SOURCE_COLUMNS,
    build_source_pool,
    check_allocation,
    manifest,
    per_light,
    pregen_parts,
    stage_parts,
)
from deft.pool_rows import read_pool
from deft.preflight.digest import pool_prefix
from deft.steps.context import Context
from deft.tables import image_file, write_table
from deft.tao.settings import embeds_in_container

PROGRESS_EVERY_S = 5.0


def stage_pool(context: Context, encoder: str) -> str:
    """Write ``synth_pool/``: pictures, ``sdg_rows.csv``, ``source_pool``, ``manifest.json``."""
    out = context.root / context.relative(context.run.synth_pool)
    parts = pregen_parts(context.workspace, context.lights)
    check_allocation(parts, context.workspace)
    real = read_pool(context.workspace, pool_prefix(context.run.dir))
    sdg = stage_parts(parts, out / "images", context.root, context.lights, context.ext)
    sdg_light = per_light(sdg.assign(provenance="sdg"), context.root, context.lights, context.ext)
    pool, doubled = build_source_pool(real, sdg, context.root, context.lights, context.ext)
    facts = manifest(
        pool, sdg, doubled, workspace=context.workspace, lights=context.lights, encoder=encoder
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
    replace_atomically(
        out / "source_pool.parquet", lambda p: pq.write_table(table.replace_schema_metadata(), p)
    )
    write_json_atomic(out / "manifest.json", facts)
    counts = facts["counts"]
    return f"{counts['real_rows']} real + {counts['sdg_rows']} synthetic rows"


def open_encoder(
    context: Context,
    name: str,
    weights: str,
    *,
    device: str,
    batch_size: int,
    threads: int,
    job: tuple[str, str] = ("pool", "embed"),
) -> Encoder:
    """Return the encoder; ``changenet`` is the baseline's chosen weights, fixed for the run.

    With ``engine: tao`` TAO's container embeds; ``job`` (phase and stage) names it.
    """
    from deft.changenet.device import pick_device

    if name == "changenet":
        from deft.changenet.features import ChangeNetEncoder

        chosen = context.chosen_weights(BASELINE)
        return ChangeNetEncoder(context.spec, chosen, device, threads)
    if embeds_in_container({**context.config, "encoder": name}):
        from deft.tao.embed import TaoEncoder

        phase, stage = job
        return TaoEncoder(context, name, weights, batch_size=batch_size, phase=phase, job=stage)
    import torch

    torch.set_num_threads(threads)
    return OpenClipEncoder(
        name, weights or None, device=str(pick_device(device)), batch_size=batch_size
    )


class EmbedProgress:
    """A bar on a terminal, a plain line every few seconds in a log; counts pictures."""

    def __init__(self, total: int, what: str) -> None:
        self.total, self.what, self.done = total, what, 0
        self.bar = tqdm(total=total, desc=what, unit="img", disable=not sys.stderr.isatty())
        self.began = self.said = time.monotonic()

    def __call__(self, count: int) -> None:
        """Report ``count`` further pictures."""
        self.done += count
        self.bar.update(count)
        now = time.monotonic()
        if self.bar.disable and now - self.said > PROGRESS_EVERY_S:
            self.said = now
            rate = self.done / (now - self.began)
            left = (self.total - self.done) / rate
            print(f"{self.what}: {self.done}/{self.total}, {rate:.0f} img/s, {left:.0f} s left")

    def close(self) -> None:
        """Close the bar."""
        self.bar.close()


def embed_pool(context: Context, encoder: Encoder) -> str:
    """Write ``source_embeddings.parquet`` and the small file that stands for it."""
    out = context.run.synth_pool
    pool = pd.read_parquet(out / "source_pool.parquet")
    progress = EmbedProgress(len(pool), "embed pool")
    vectors = encoder.embed(pool_paths(context, pool), progress)
    progress.close()
    path = write_embeddings(
        out / "source_embeddings.parquet",
        pool[["filepath", "label", "light", "provenance"]],
        vectors,
        encoder,
    )
    facts: dict[str, Any] = {
        "encoder": {"name": encoder.name, "dim": encoder.dim, "digest": encoder.digest},
        "rows": len(pool),
    }
    write_json_atomic(out / "source_embeddings.json", facts)
    return f"{len(pool)} pictures with {encoder.name} ({sha256_file(path)[:12]})"


def pool_paths(context: Context, pool: pd.DataFrame) -> list[Path]:
    """Return each row's picture below this workspace, wherever it lay when the pool was staged."""
    return [
        image_file(context.root, folder, name, light, context.ext)
        for folder, name, light in zip(
            pool["input_path"], pool["object_name"], pool["light"], strict=True
        )
    ]
