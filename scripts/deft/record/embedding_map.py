"""The embeddings of pool, mined and weak pictures on the two axes that show most of them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deft.core.errors import HardStop
from deft.core.parquet import reading_parquet
from deft.record.run_files import RunFiles

logger = logging.getLogger(__name__)

POOL, MINED, WEAK = "pool", "mined", "weak"
POINTS = {POOL: 1200, MINED: 500, WEAK: 400}  # at most so many of each are drawn
ROWS_READ = 20_000  # of a large pool, spread over its file


@dataclass
class EmbeddingMap:
    """Points (x, y, kind, filepath, label), and what share of the variance the axes show."""

    points: pd.DataFrame
    variance_pct: float
    rows: int  # pictures in the pool


def embedding_map(files: RunFiles) -> EmbeddingMap | None:
    """Return the map of a run, or None before its first mining; made once per reading."""
    if "embedding_map" not in files.memo:
        files.memo["embedding_map"] = _made(files)
    found: EmbeddingMap | None = files.memo["embedding_map"]
    return found


def _made(files: RunFiles) -> EmbeddingMap | None:
    mined_in = [p for p in files.phases if p.mining]
    pool = _vectors(files, files.run.synth_pool / "source_embeddings.parquet", ROWS_READ)
    if pool is None or not mined_in:
        return None
    folder = mined_in[-1].dir / "mining_filter"
    weak = _vectors(files, folder / "target_embeddings.parquet", ROWS_READ)
    if weak is None or weak[1].shape[1] != pool[1].shape[1]:
        return None
    mined: set[str] = set()
    for phase in mined_in:
        table = files.reader.table(phase.dir / "mining_filter" / "mined.parquet")
        if "filepath" in table:
            path = phase.dir / "mining_filter" / "mined.parquet"
            mined |= set(files.reader.paths_here(table, path, files.run)["filepath"])
    vectors = np.concatenate([pool[1], weak[1]])
    places, share = two_axes(vectors)
    table = pd.concat([pool[0], weak[0]], ignore_index=True)
    is_weak = np.arange(len(table)) >= len(pool[0])
    kinds = np.where(is_weak, WEAK, np.where(table["filepath"].isin(mined), MINED, POOL))
    table = table.assign(x=places[:, 0], y=places[:, 1], kind=kinds)
    drawn = [_spread(table[table["kind"] == kind], most) for kind, most in POINTS.items()]
    return EmbeddingMap(pd.concat(drawn), round(100 * share, 4), pool[2])


def two_axes(vectors: np.ndarray) -> tuple[np.ndarray, float]:
    """Return vectors (n, d) on their two first principal axes (n, 2), and the share they show.

    The share is of the variance, 0 to 1. Each axis points where its largest weight is positive.
    """
    centred = np.asarray(vectors, np.float64) - vectors.mean(axis=0, dtype=np.float64)
    values, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    total = values.sum()
    share = float(values[::-1][:2].sum() / total) if total > 0 else 1.0
    places = centred @ axes
    if places.shape[1] < 2:
        places = np.column_stack([places, np.zeros(len(places))])
    return places, min(1.0, max(0.0, share))


def _spread(table: pd.DataFrame, most: int) -> pd.DataFrame:
    """Return at most so many rows, evenly spread over the table."""
    if len(table) <= most:
        return table
    return table.iloc[np.linspace(0, len(table) - 1, most).astype(int)]


def _vectors(files: RunFiles, path: Path, most: int) -> tuple[pd.DataFrame, np.ndarray, int] | None:
    """Return ``filepath`` and ``label``, the vectors (n, d), and the rows of the whole file."""
    if not path.is_file():
        return None
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with reading_parquet(path):
            file = pq.ParquetFile(path)
            groups = _groups(file, most)
            table = file.read_row_groups(groups, columns=["filepath", "label", "embedding"])
            column: Any = table["embedding"].combine_chunks()
            if not pa.types.is_fixed_size_list(column.type) or not table.num_rows:
                return None
            vectors = column.flatten().to_numpy().reshape(table.num_rows, -1)
            frame = table.select(["filepath", "label"]).to_pandas()
            rows = file.metadata.num_rows
    except (HardStop, OSError, ValueError, KeyError) as error:
        logger.warning("left out the map of the embeddings, %s: %s", path, error)
        return None
    good = np.isfinite(vectors).all(axis=1)
    frame = files.reader.paths_here(frame, path, files.run)
    return frame[good].reset_index(drop=True), np.asarray(vectors[good], np.float32), rows


def _groups(file: Any, most: int) -> list[int]:
    """Return row groups that are spread over a file and hold about ``most`` rows."""
    count = file.metadata.num_row_groups
    rows = max(1, file.metadata.num_rows)
    wanted = max(1, min(count, round(count * most / rows)))
    return sorted({int(i) for i in np.linspace(0, count - 1, wanted)}) if count else []
