"""Embed one shard of the source pool."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from deft.core.parquet import check_columns, reading_parquet
from deft.core.reading import read_json
from deft.embedding.embed import EmbeddingWriter
from deft.embedding.encoders.base import Encoder
from deft.embedding.shards import shard_rows
from deft.run.roots import root_metadata
from deft.run.stage_files import read, written
from deft.stages.context import Context
from deft.stages.encoder import vectors_of
from deft.tables.changenet_table import image_name
from deft.tao.embed import TaoEncoder

COLUMNS = ("filepath", "label", "light", "provenance")
PATH_COLUMNS = ("input_path", "object_name", "light")
BLOCK_ROWS = 4096
SHARD_KEY = b"deft_shard"


@dataclass(frozen=True)
class Files:
    """What :func:`embed_shard` reads and writes."""

    manifest: Path = read("manifest.json of the staged pool, which seals its table")
    pool: Path = read("source_pool.parquet")
    shard: Path = written("the vectors of its rows")


def embed_shard(
    context: Context,
    files: Files,
    encoder: Encoder | TaoEncoder,
    item: str,
    cache: Path | None,
    threads: int,
) -> str:
    """Embed the rows of the shard ``3-of-16`` of the staged pool into its file."""
    source = context.checked_by(files.manifest, files.pool.name, rule="stage_pool")
    with reading_parquet(source):
        total = pq.read_metadata(source).num_rows
    start, stop = shard_rows(item, total)
    rows = read_slice(source, start, stop, [*dict.fromkeys([*COLUMNS, *PATH_COLUMNS])])
    folders, names, lights = (rows[column].to_pylist() for column in PATH_COLUMNS)
    # Below this workspace, wherever it lay when the pool was staged.
    paths = [
        f"{context.root}/{folder}/{image_name(name, light, context.ext)}"
        for folder, name, light in zip(folders, names, lights, strict=True)
    ]
    with vectors_of(encoder, paths, cache, threads, f"embed pool {item}") as vectors:
        kept = rows.select(COLUMNS)
        facts = {
            "rows": [start, stop, total],
            "pool": pool_digest(files.manifest),
            "counts": asdict(vectors.counts),
        }
        more = {SHARD_KEY: facts, **root_metadata(source)}
        with EmbeddingWriter(files.shard, kept.schema.remove_metadata(), encoder, more) as out:
            done = 0
            for block in vectors.blocks(BLOCK_ROWS):
                out.add(kept.slice(done, len(block)), block)
                done += len(block)
    return f"shard {item} with {encoder.name}: {vectors.counts.text()}"


def read_slice(path: Path, start: int, stop: int, columns: list[str]) -> pa.Table:
    """Return rows [start, stop) of a parquet file, reading only the row groups that hold them."""
    parts, first = [], 0
    with reading_parquet(path), pq.ParquetFile(path) as file:
        check_columns(file.schema_arrow, columns, path)
        for group in range(file.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            low, high = max(start, first), min(stop, first + count)
            if low < high:
                part = file.read_row_group(group, columns=columns)
                parts.append(part.slice(low - first, high - low))
            first += count
        empty = file.schema_arrow.empty_table().select(columns)
    return pa.concat_tables([empty, *parts])


def pool_digest(manifest: Path) -> str:
    """Return the digest of the staged pool, by its ``manifest.json``."""
    known: dict[str, str] = read_json(manifest, {"digests": {"source_pool": str}})["digests"]
    return known["source_pool"]
