"""Tables of embeddings: columns, vectors, and the encoder that made them in the metadata."""

from __future__ import annotations

import json
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from deft.core.disk import writing
from deft.core.errors import HardStop
from deft.core.files import put_in_place, temporary_name
from deft.core.parquet import metadata_of, read_frame, reading_parquet
from deft.embedding.encoders.base import unit_rows
from deft.embedding.vectors import EMBEDDING, ParquetVectors, VectorTable, as_table

normalise = unit_rows  # callers of tables need it
GROUP_ROWS = 8192  # of a row group
META_KEY = b"deft_encoder"


class EmbeddingWriter:
    """A table of embeddings that is written as a stream, whole or not at all.

    Its row groups have ``GROUP_ROWS`` rows whatever the sizes of the parts that are added, so its
    bytes depend on the rows alone, and memory is two groups. To be used in a ``with`` block.

    Parameters
    ----------
    columns: name and type of the columns before ``embedding``.
    encoder: name, dim and digest, for the file's metadata; ``more`` metadata beside it (bytes
        as they are, all else as JSON).
    """

    def __init__(
        self,
        path: str | Path,
        columns: pa.Schema,
        encoder: Any,
        more: dict[bytes, Any] | None = None,
    ) -> None:
        self.path = Path(path)
        facts = {"name": encoder.name, "dim": int(encoder.dim), "digest": encoder.digest}
        metadata = {META_KEY: facts, **(more or {})}
        vector = pa.list_(pa.float32(), int(encoder.dim))
        self.schema = pa.schema(
            [*columns, pa.field(EMBEDDING, vector)],
            {key: _as_bytes(value) for key, value in metadata.items()},
        )
        self.others = [field.name for field in columns]
        self._parts: list[pa.Table] = []
        self._waiting = 0

    def __enter__(self) -> EmbeddingWriter:
        self._temporary = temporary_name(self.path)
        with ExitStack() as opened:
            opened.callback(self._temporary.unlink, missing_ok=True)  # when it cannot be opened
            opened.enter_context(writing(self.path, self._temporary))
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = pq.ParquetWriter(
                self._temporary,
                self.schema,
                use_dictionary=self.others,
                # Vectors are as good as random: packing costs time at either end and saves nothing.
                compression={**dict.fromkeys(self.others, "snappy"), EMBEDDING: "none"},
                write_statistics=self.others,
            )
            opened.pop_all()
        return self

    def add(self, rows: pa.Table, vectors: np.ndarray) -> None:
        """Add rows (n) of the other columns and their vectors (n, d) float32."""
        flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
        column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        self.add_table(rows.append_column(EMBEDDING, column))

    def add_table(self, rows: pa.Table) -> None:
        """Add rows of all columns."""
        self._parts.append(rows.select(self.schema.names).cast(self.schema))
        self._waiting += rows.num_rows
        while self._waiting >= GROUP_ROWS:
            self._write(GROUP_ROWS)

    def _write(self, count: int) -> None:
        table = pa.concat_tables(self._parts)
        # One chunk a group: pages follow chunks, and bytes must not follow the parts.
        with writing(self.path, self._temporary):
            self._file.write_table(
                table.slice(0, count).combine_chunks(), row_group_size=GROUP_ROWS
            )
        self._parts, self._waiting = [table.slice(count)], self._waiting - count

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is not None:
                with suppress(OSError):  # what went wrong before is what counts
                    self._file.close()
                return
            if self._waiting:
                self._write(self._waiting)
            with writing(self.path, self._temporary):
                self._file.close()
                put_in_place(self._temporary, self.path)
        finally:
            self._temporary.unlink(missing_ok=True)


def _as_bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value, sort_keys=True).encode()


def write_embeddings(
    path: str | Path,
    table: pd.DataFrame,
    vectors: np.ndarray | VectorTable,
    encoder: Any,
    more: dict[bytes, Any] | None = None,
) -> Path:
    """Write ``table``'s columns and ``embedding`` (list<float32>), the encoder in the metadata."""
    arrow = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata()
    done = 0
    with EmbeddingWriter(path, arrow.schema, encoder, more) as out:
        for block in as_table(vectors).blocks(GROUP_ROWS):
            out.add(arrow.slice(done, len(block)), block)
            done += len(block)
    return Path(path)


def open_embeddings(path: str | Path) -> tuple[pd.DataFrame, ParquetVectors, dict[str, Any]]:
    """Return (table without the vectors, the vectors as a stream, encoder facts)."""
    with reading_parquet(path):
        others = [name for name in pq.read_schema(path).names if name != EMBEDDING]
    return read_frame(path, others, only=True), ParquetVectors(path), encoder_facts(path)


def encoder_facts(path: str | Path) -> dict[str, Any]:
    """Return name, dim and digest of a table's encoder, ``{}`` when it names none.

    Raises HardStop ``missing_input`` for a file that is no table.
    """
    return metadata_of(path, META_KEY)


def check_same_encoder(source: dict[str, Any], target: dict[str, Any], file: str | Path) -> None:
    """Raise ``encoder_mismatch`` unless both sides were embedded alike."""
    if source.get("digest") != target.get("digest") or not source.get("digest"):
        raise HardStop(
            "encoder_mismatch",
            f"the pool was embedded with {source.get('name')} {str(source.get('digest'))[:12]}, "
            f"the weak samples with {target.get('name')} {str(target.get('digest'))[:12]}",
            file=file,
            fix="delete synth_pool/source_embeddings.parquet and synth_pool/shards, then run again",
        )
