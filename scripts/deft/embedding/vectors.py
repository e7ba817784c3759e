"""Tables of vectors that are read block by block, so that a pool need not fit in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from deft.core.parquet import check_columns, reading_parquet

EMBEDDING = "embedding"
READ_BUFFER_BYTES = 2**20  # of one column chunk; without it arrow reads the whole chunk at once


class VectorTable(Protocol):
    """``rows`` vectors of ``dim`` numbers; row i is the i-th over all blocks in order."""

    rows: int
    dim: int

    def blocks(self, rows: int) -> Iterator[np.ndarray]:
        """Yield all vectors in order as float32 (b, dim) with 1 <= b <= ``rows``."""


class ArrayVectors:
    """A float32 (n, d) array, also a memory-mapped one (``np.load(..., mmap_mode="r")``)."""

    def __init__(self, vectors: np.ndarray) -> None:
        if vectors.ndim != 2 or vectors.dtype != np.float32:
            raise ValueError(f"vectors are float32 (n, d), not {vectors.dtype} {vectors.shape}")
        self.vectors = vectors
        self.rows, self.dim = vectors.shape

    def blocks(self, rows: int) -> Iterator[np.ndarray]:
        """See :class:`VectorTable`; views, nothing is copied."""
        for start in range(0, self.rows, rows):
            yield self.vectors[start : start + rows]


class ParquetVectors:
    """The column ``embedding`` (fixed_size_list<float>) of one or more files, one after another.

    The files are decoded as a stream, one block ahead of the consumer in a second thread, so
    memory is two blocks whatever the size of the files and of their row groups.

    Raises
    ------
    HardStop ``missing_input`` when a file is damaged or has no such column; ValueError when widths
    differ.
    """

    def __init__(self, paths: str | Path | Sequence[str | Path]) -> None:
        self.paths = [paths] if isinstance(paths, (str, Path)) else list(paths)
        widths = set()
        self.rows = 0
        for path in self.paths:
            with reading_parquet(path), pq.ParquetFile(path) as file:
                check_columns(file.schema_arrow, [EMBEDDING], path)
                column = file.schema_arrow.field(EMBEDDING).type
                if not (
                    pa.types.is_fixed_size_list(column) and pa.types.is_float32(column.value_type)
                ):
                    raise ValueError(f"{EMBEDDING} is {column}, not a list of float")
                widths.add(column.list_size)
                self.rows += file.metadata.num_rows
        if len(widths) != 1:
            raise ValueError(f"embeddings of {len(widths)} widths {sorted(widths)} in one table")
        self.dim = widths.pop()

    def blocks(self, rows: int) -> Iterator[np.ndarray]:
        """See :class:`VectorTable`."""
        stream = self._decode(rows)
        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(next, stream, None)
            while (block := ahead.result()) is not None:
                ahead = reader.submit(next, stream, None)
                yield block

    def _decode(self, rows: int) -> Iterator[np.ndarray]:
        for path in self.paths:
            buffered = {"pre_buffer": False, "buffer_size": READ_BUFFER_BYTES}
            with reading_parquet(path):
                file = pq.ParquetFile(path, **buffered)
            with file:
                batches = file.iter_batches(rows, columns=[EMBEDDING], use_threads=False)
                while True:
                    # Not around the yield: what the consumer raises is not the file's fault.
                    with reading_parquet(path):
                        batch = next(batches, None)
                        if batch is None:
                            break
                        flat = batch.column(0).flatten().to_numpy(zero_copy_only=False)
                        block = flat.reshape(-1, self.dim)
                    yield block


def as_table(vectors: np.ndarray | VectorTable) -> VectorTable:
    """Return a table of vectors as it is, an array as :class:`ArrayVectors`."""
    return ArrayVectors(vectors) if isinstance(vectors, np.ndarray) else vectors


def for_each_block(
    table: VectorTable, rows: int, work: Callable[[np.ndarray, int], None], workers: int
) -> None:
    """Call ``work(block, first row)`` for every block, ``workers`` at a time.

    One thread a block beats all threads on one product: nobody waits for the slowest at every
    step, and the selection of one block runs beside the product of another.
    """
    import torch

    start = 0
    if workers == 1:
        for block in table.blocks(rows):
            work(block, start)
            start += len(block)
        return
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            pending: deque[Future[None]] = deque()
            for block in table.blocks(rows):
                pending.append(pool.submit(work, block, start))
                start += len(block)
                if len(pending) > workers:
                    pending.popleft().result()
            for one in pending:
                one.result()
    finally:
        torch.set_num_threads(threads)
