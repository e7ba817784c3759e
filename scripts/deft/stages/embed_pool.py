"""Join the embedded shards of the source pool."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from deft.core.errors import HardStop
from deft.core.files import write_json_atomic
from deft.core.parquet import check_columns, metadata_of, reading_parquet
from deft.core.reading import check_shape
from deft.embedding.embed import META_KEY, EmbeddingWriter
from deft.embedding.vector_files import Counts
from deft.embedding.vectors import EMBEDDING
from deft.run.roots import root_metadata
from deft.run.stage_files import read, written
from deft.stages.embed_shard import COLUMNS, SHARD_KEY, pool_digest
from deft.tables.sealed import TABLES, seals

ENCODER_SHAPE = {"name": str, "dim": int, "digest": str}
SHARD_SHAPE = {"rows": [int], "pool": str, "counts": {f.name: int for f in fields(Counts)}}


@dataclass(frozen=True)
class Files:
    """What :func:`embed_pool` reads and writes."""

    manifest: Path = read("manifest.json of the staged pool")
    embeddings: Path = written("the vectors of the whole pool")
    facts: Path = written("source_embeddings.json, which seals them")
    shards: tuple[Path, ...] = read("the embedded shards", default=())


def embed_pool(files: Files) -> str:
    """Write ``source_embeddings.parquet`` and the small file that stands for it."""
    known = [(path, *_facts_of(path)) for path in files.shards]
    known.sort(key=lambda one: one[2]["rows"])
    # A shard without rows knows no dimension where a container embeds.
    known = [one for one in known if one[2]["rows"][0] < one[2]["rows"][1]] or known[:1]
    encoder = known[0][1]
    pool, done = pool_digest(files.manifest), 0
    for path, meta, facts in known:
        start, stop, total = facts["rows"]
        held = pq.read_metadata(path).num_rows
        if held != stop - start:
            raise HardStop(
                "silent_drop",
                f"a shard of the pool holds {held} rows, and its own record says {stop - start}",
                file=path,
                fix=f"delete {path.parent} and run the same command again",
            )
        if meta != encoder or facts["pool"] != pool or start != done:
            raise HardStop(
                "encoder_mismatch",
                f"shards of the pool do not belong together: rows {start} to {stop} were embedded "
                f"with {meta['name']} {meta['digest'][:12]}, others with {encoder['name']} "
                f"{encoder['digest'][:12]}, or from another pool",
                file=path,
                fix=f"delete {path.parent} and run the same command again",
            )
        done = stop
    if done != total:
        raise HardStop(
            "silent_drop", f"the shards hold {done} of {total} rows", file=known[0][0].parent
        )
    target = files.embeddings
    for path, _, _ in known:
        with reading_parquet(path):
            check_columns(pq.read_schema(path), (*COLUMNS, EMBEDDING), path)
    columns = pa.schema([pq.read_schema(known[0][0]).field(name) for name in COLUMNS])
    more = root_metadata(known[0][0])
    with EmbeddingWriter(target, columns, SimpleNamespace(**encoder), more) as writer:
        for path, _, _ in known:
            with reading_parquet(path):
                file = pq.ParquetFile(path)
            with file:
                for group in range(file.num_row_groups):
                    with reading_parquet(path):
                        rows = file.read_row_group(group).select(writer.schema.names)
                        rows.validate(full=True)
                        rows = rows.cast(writer.schema)
                    writer.add_table(rows)
    facts = {"encoder": encoder, "rows": total, TABLES: seals(target.parent, {target.name: total})}
    write_json_atomic(files.facts, facts)
    counts = [facts["counts"] for _, _, facts in known]
    whole = Counts(**{name: sum(one[name] for one in counts) for name in counts[0]})
    return (
        f"{whole.text()}; encoder {encoder['name']} {encoder['digest'][:12]}, {len(known)} shard(s)"
    )


def _facts_of(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the encoder and the rows of a shard's file."""
    found = [metadata_of(path, key) for key in (META_KEY, SHARD_KEY)]
    problem = check_shape(found[0], ENCODER_SHAPE) or check_shape(found[1], SHARD_SHAPE)
    if not problem and len(found[1]["rows"]) != 3:
        problem = "its rows are not three numbers"
    if problem:
        raise HardStop(
            "missing_input",
            f"not a shard of the pool: {problem}",
            file=path,
            fix=f"delete {path.parent} and run the same command again",
        )
    return found[0], found[1]
