"""Embeddings of a fake run: the pool's and the weak pictures', as the loop writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from fake_run import TS, FakeRun

from deft.run.roots import with_root

DIM = 6


def write_embeddings(run: FakeRun) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Write the files of every lap; return pool, weak (of the last lap) and mined file paths."""
    pool = pd.read_csv(run.dir / "synth_pool/source_pool.csv")[["filepath", "label"]]
    rng = np.random.default_rng(5)
    stretch = np.array([9, 4, 1, 0.5, 0.2, 0.1])
    _write(run, run.dir / "synth_pool/source_embeddings.parquet", pool, rng, stretch)
    mined = pool["filepath"][:17].tolist()
    weak = pd.DataFrame()
    for phase, before in (("iter1", "baseline"), ("iter2", "iter1")):
        gaps = pd.read_parquet(run.dir / before / f"rca_results/{TS}/kpi_gaps.parquet")
        weak = gaps[["filepath", "label"]]
        folder = run.dir / phase / "mining_filter"
        _write(run, folder / "target_embeddings.parquet", weak, rng, stretch)
        run.parquet(folder / "mined.parquet", pd.DataFrame({"filepath": mined}))
    return pool, weak, mined


def _write(
    run: FakeRun, path: Path, table: pd.DataFrame, rng: np.random.Generator, stretch: np.ndarray
) -> None:
    vectors = (rng.normal(size=(len(table), DIM)) * stretch).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIM)
    arrow = pa.Table.from_pandas(table, preserve_index=False).append_column("embedding", column)
    pq.write_table(with_root(arrow, run.workspace), path)
