"""Embed the source pool in shards and join them; the encoder as the command lines name it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from deft.core.credentials import credential
from deft.core.errors import HardStop
from deft.core.files import write_json_atomic
from deft.core.layout import BASELINE
from deft.core.parquet import check_columns, metadata_of, reading_parquet
from deft.core.reading import check_shape, read_json
from deft.embedding.cache import cache_folder, open_cache
from deft.embedding.embed import META_KEY, EmbeddingWriter
from deft.embedding.encoders.base import Encoder
from deft.embedding.encoders.selftest import SelfTested, record_path
from deft.embedding.shards import shard_rows
from deft.embedding.vector_files import Counts, EmbeddedFiles
from deft.embedding.vectors import EMBEDDING
from deft.run.cli import flag
from deft.run.roots import root_metadata
from deft.settings.tao import embeds_in_container
from deft.stages.context import Context
from deft.tables.changenet_table import image_name
from deft.tables.sealed import TABLES, seals
from deft.tao.embed import ContainerVectors, TaoEncoder

COLUMNS = ("filepath", "label", "light", "provenance")
PATH_COLUMNS = ("input_path", "object_name", "light")
BLOCK_ROWS = 4096
SHARD_KEY = b"deft_shard"
ENCODER_SHAPE = {"name": str, "dim": int, "digest": str}
SHARD_SHAPE = {"rows": [int], "pool": str, "counts": {f.name: int for f in fields(Counts)}}
NO_CACHE_RECORDS = "results/encoder_selftest"  # of the self-test, with embedding_cache: off


def add_encoder_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how pictures become vectors."""
    parser.add_argument("--encoder", required=True, help="its name, as in config.yaml")
    parser.add_argument("--encoder-weights", default="", help="local folder of the weights")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--batch-size", type=int, default=32, help="pictures per forward pass")
    parser.add_argument("--precision", default="float32", help="float32 or bfloat16")
    parser.add_argument("--compile", type=flag, default=False, help="use torch.compile")
    parser.add_argument("--runtime", default="torch", help="torch or onnx, on the CPU")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument(
        "--picture-levels", type=int, default=None, help="full scale of deeper pictures"
    )
    parser.add_argument(
        "--image", default="", help="container of the encoder, named for the record"
    )
    parser.add_argument(
        "--cache", default="", help="folder of embedded pictures, off, or nothing for the default"
    )


def open_encoder(context: Context, args: argparse.Namespace) -> SelfTested | TaoEncoder:
    """Return the encoder; ``changenet`` is the baseline's chosen weights, fixed for the run.

    With ``engine: tao`` TAO's container is the encoder where it has it. Any other compares itself
    with its record (:mod:`deft.embedding.encoders.selftest`) before its first vectors.
    """
    if embeds_in_container({**context.config, "encoder": args.encoder}):
        lap = getattr(args, "phase", None)
        phase, job = (lap, "data_mining") if lap else ("pool", f"embed_{args.shard}")
        return TaoEncoder(
            context,
            args.encoder,
            args.encoder_weights,
            batch_size=args.batch_size,
            phase=phase,
            job=job,
        )
    import torch  # seconds of import, wanted only here

    from deft.embedding.encoders.opening import open_encoder as opened
    from deft.embedding.encoders.torch_encoder import Options

    torch.set_num_threads(max(1, args.threads))
    options = Options(
        args.device,
        args.batch_size,
        args.precision,
        args.compile,
        args.runtime,
        args.picture_levels,
    )
    encoder = opened(
        args.encoder,
        args.encoder_weights or None,
        options,
        network=lambda: (context.spec, context.chosen_weights(BASELINE)),
        token=lambda: credential(context.workspace, "HF_TOKEN"),
    )
    records = cache_folder(context.workspace, args.cache) or context.root / NO_CACHE_RECORDS
    return SelfTested(encoder, record_path(records, encoder.digest))


@contextmanager
def vectors_of(
    encoder: Encoder | TaoEncoder,
    paths: Sequence[str | Path],
    cache: Path | None,
    workers: int,
    what: str,
) -> Iterator[EmbeddedFiles | ContainerVectors]:
    """Yield the vectors of pictures; a container reads the pictures itself and needs no cache."""
    if isinstance(encoder, TaoEncoder):
        yield ContainerVectors(encoder, paths)
        return
    with open_cache(cache, encoder) as opened:
        yield EmbeddedFiles(encoder, paths, opened, workers=workers, what=what)


def embed_shard(
    context: Context, encoder: Encoder | TaoEncoder, item: str, cache: Path | None, threads: int
) -> str:
    """Embed the rows of the shard ``3-of-16`` of the staged pool into its file."""
    source = staged_pool(context)
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
            "pool": _pool_digest(context),
            "counts": asdict(vectors.counts),
        }
        path = context.run.synth_pool / "shards" / f"{item}.parquet"
        more = {SHARD_KEY: facts, **root_metadata(source)}
        with EmbeddingWriter(path, kept.schema.remove_metadata(), encoder, more) as out:
            done = 0
            for block in vectors.blocks(BLOCK_ROWS):
                out.add(kept.slice(done, len(block)), block)
                done += len(block)
    return f"shard {item} with {encoder.name}: {vectors.counts.text()}"


def staged_pool(context: Context) -> Path:
    """Return the path of the staged pool, as its manifest knows it."""
    record = context.run.synth_pool / "manifest.json"
    return context.checked_by(record, "source_pool.parquet", rule="stage_pool")


def join_shards(context: Context, shards: Sequence[Path]) -> str:
    """Write ``source_embeddings.parquet`` and the small file that stands for it."""
    out = context.run.synth_pool
    known = [(path, *_facts_of(path)) for path in shards]
    known.sort(key=lambda one: one[2]["rows"])
    # A shard without rows knows no dimension where a container embeds.
    known = [one for one in known if one[2]["rows"][0] < one[2]["rows"][1]] or known[:1]
    encoder = known[0][1]
    pool, done = _pool_digest(context), 0
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
            "silent_drop", f"the shards hold {done} of {total} rows", file=out / "shards"
        )
    target = out / "source_embeddings.parquet"
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
    facts = {"encoder": encoder, "rows": total, TABLES: seals(out, {target.name: total})}
    write_json_atomic(out / "source_embeddings.json", facts)
    counts = [facts["counts"] for _, _, facts in known]
    whole = Counts(**{name: sum(one[name] for one in counts) for name in counts[0]})
    return (
        f"{whole.text()}; encoder {encoder['name']} {encoder['digest'][:12]}, {len(known)} shard(s)"
    )


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


def _pool_digest(context: Context) -> str:
    path = context.run.synth_pool / "manifest.json"
    return read_json(path, {"digests": {"source_pool": str}})["digests"]["source_pool"]


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
