"""What a lap's mining is asked for, and what it searches with: weak samples, cutoff, pool."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deft.causes.catalogue import beyond_rows
from deft.embedding.encoders.base import Encoder
from deft.mining import cutoff as cut
from deft.mining import neighbours
from deft.mining.strategies import Rules
from deft.mining.strategies.problem import Key
from deft.mining.strategies.rows import copies_in
from deft.stages.context import Context
from deft.stages.encoder import vectors_of
from deft.tables.changenet_table import image_file
from deft.tables.fingerprint import fingerprints
from deft.tables.labels import clean_label
from deft.tables.spread import spread_rows
from deft.tao.embed import TaoEncoder


@dataclass(frozen=True)
class MineOptions:
    """Settings of a lap's mining."""

    strategy: str
    top_k: int
    min_similarity: float | str  # a cosine, or ``auto`` (:mod:`deft.mining.cutoff`)
    memory_mb: int
    content_leakage: str
    seed: int
    search: str = "exact"
    device: str = "cpu"
    budget: int | None = None  # new parts a lap; None = as many as the neighbours would add
    rules: Rules = field(default_factory=Rules)
    cache: Path | None = None  # folder of embedded pictures; None = keep none
    threads: int = 1
    causes: str | None = None  # ``use``: weak samples that rows cannot mend have no neighbours


def mendable(targets: pd.DataFrame, causes: str | None) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the weak pictures whose causes further rows can mend, and how many others there are.

    ``targets``: gaps with their column of named root causes; older ones have none.
    """
    if causes is None or "causes" not in targets:
        return targets, {}
    beyond = targets["causes"].map(beyond_rows).to_numpy(bool)
    found = targets.loc[beyond, "causes"].value_counts().sort_index()
    left = {"pictures": int(beyond.sum()), "by_cause": {k: int(n) for k, n in found.items()}}
    if beyond.all() and len(targets):
        print("warning: rows mend no weak sample's named cause; all are mined for", flush=True)
        return targets, {**left, "kept_all": True}
    print(f"{left['pictures']} weak pictures with causes that rows cannot mend", flush=True)
    return targets[~beyond].reset_index(drop=True), left


def with_cutoff(
    context: Context, encoder: Encoder | TaoEncoder, options: MineOptions, training: pd.DataFrame
) -> tuple[MineOptions, dict[str, Any]]:
    """Return the options with a cosine for a cutoff, and what ``auto`` found it from.

    ``training``: the table before the lap, relative to the workspace.
    """
    if options.min_similarity != cut.AUTO:
        return options, {}
    rows = training.iloc[spread_rows(len(training), cut.ROWS_MOST)]
    each = [(row, light) for light in context.lights for _, row in rows.iterrows()]
    paths = [
        str(image_file(context.root, row["input_path"], row["object_name"], light, context.ext))
        for row, light in each
    ]
    with vectors_of(encoder, paths, options.cache, options.threads, "embed training rows") as found:
        vectors = found.array()
    labels = [clean_label(row["label"]) for row, _ in each]
    facts = cut.auto_cutoff(vectors, labels, [light for _, light in each])
    print(cut.auto_text(facts), flush=True)
    return replace(options, min_similarity=facts["min_similarity"]), facts


def embed_targets(
    encoder: Encoder | TaoEncoder, paths: list[str], options: MineOptions
) -> np.ndarray:
    """Return the vectors (n, d) of weak samples; those of earlier laps are in the cache."""
    what = "embed weak samples"
    with vectors_of(encoder, paths, options.cache, options.threads, what) as found:
        print(f"weak samples: {found.counts.text()}", flush=True)
        return found.array()


def left_out(
    context: Context,
    pool: pd.DataFrame,
    rules: Rules,
    taken: frozenset[Key],
    corrected: np.ndarray,
) -> np.ndarray | None:
    """Return which rows of the pool (n,) bool the rules keep from being anybody's neighbours.

    ``corrected``: those (n,) bool that the user left out.
    """
    gone = corrected.copy()
    if rules.copies_bits is not None:
        tests = [test for test, _ in pictures_of(context, pool)]
        with context.pictures_kept():
            prints = fingerprints(tests, log=print, levels=context.picture_levels)
        hashes = np.array([p.dhash for p in prints if p is not None], np.uint64)
        gone |= copies_in(pool, hashes, rules.copies_bits)
        print(f"near-copies left out of the pool: {int(gone.sum())} of {len(pool)}", flush=True)
    if rules.skip_known:
        gone |= neighbours.are_taken(pool, taken)
    return gone if gone.any() else None


def pictures_of(context: Context, pool: pd.DataFrame) -> list[tuple[Path, Path]]:
    """Return the test and the golden picture of each row of the pool, below this workspace."""
    columns = [pool[c] for c in ("input_path", "golden_path", "object_name", "light")]
    return [
        (
            image_file(context.root, folder, name, light, context.ext),
            context.goldens.file(golden, name, light),
        )
        for folder, golden, name, light in zip(*columns, strict=True)
    ]
