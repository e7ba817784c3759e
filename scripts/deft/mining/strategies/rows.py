"""From the pool's table and the neighbours to chosen rows, by a named strategy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from deft.embedding.embed import normalise
from deft.embedding.vectors import VectorTable
from deft.mining.neighbours import Selection, part_keys, select_nearest
from deft.mining.strategies.named import Rules, choose
from deft.mining.strategies.place import Pair, cells_of
from deft.mining.strategies.problem import Key, Problem, parts_of
from deft.mining.strategies.spread import first_of_copies

Pictures = Sequence[Pair]
GATHER_ROWS = 65_536  # rows of the vectors' table that are held at a time


@dataclass(frozen=True)
class Lap:
    """What a lap knows beside the pool.

    ``taken``: parts of the training table. ``budget``: new parts wanted. ``gone``: (rows of the
    pool,) bool, copies that are left out, or None.
    """

    taken: frozenset[Key]
    budget: int
    seed: int
    gone: np.ndarray | None = None


def select(
    name: str,
    pool: pd.DataFrame,
    vectors: VectorTable,
    pairs: pd.DataFrame,
    rules: Rules,
    lap: Lap,
    pictures: Pictures | None = None,
    levels: int | None = None,
) -> Selection:
    """Return the rows that a strategy chooses, all lights of a part, ordered by ``filepath``.

    Parameters
    ----------
    pool: one row per part and light: ``filepath``, ``light``, the columns of a part. vectors: of
    the pool's rows, in its order. pairs: of :func:`deft.mining.neighbours.knn_pairs`. pictures:
    the test and golden picture of each row of the pool, for the strategy ``places``. levels:
    full scale of those deeper than 8 bits.

    ``nearest`` under rules that change nothing is the contract's choice, row by row: every
    neighbour of the weak samples at or above ``min_similarity``, known ones too.
    """
    if name == "nearest" and not (
        rules.limited or rules.skip_known or rules.copies_bits is not None
    ):
        return select_nearest(pairs, pool, rules.min_similarity)
    keys, part = parts_of(pool)
    free = np.array([key not in lap.taken for key in keys], bool)
    if lap.gone is not None:
        free[part[lap.gone]] = False
    problem = Problem(
        labels=np.array([key[2] for key in keys], dtype=object),
        free=free,
        nearness=nearness_of(pairs, pool, part, len(keys)),
        vectors=lambda positions: part_vectors(vectors, part, positions),
        cells=lambda positions: part_cells(pictures or [], part, positions, levels),
        budget=lap.budget,
        seed=lap.seed,
    )
    chosen = np.zeros(len(keys), bool)
    chosen[choose(name, problem, rules)] = True
    rows = pool[chosen[part]].sort_values("filepath", kind="stable")
    if name != "nearest":
        return Selection(rows, len(rows), len(rows))
    # A part brings all its lights along, also one in which it is nobody's neighbour.
    found = set(pairs["source"])
    return Selection(rows, len(found), int(rows["filepath"].isin(found).sum()))


def nearness_of(
    pairs: pd.DataFrame, pool: pd.DataFrame, part: np.ndarray, count: int
) -> np.ndarray:
    """Return each part's highest similarity to a weak sample (count,) float64, else -inf."""
    best = np.full(count, -np.inf)
    by_path = pairs.groupby("source")["similarity"].max()
    found = by_path.reindex(pool["filepath"]).to_numpy(np.float64)
    known = ~np.isnan(found)
    np.maximum.at(best, part[known], found[known])
    return best


def part_vectors(vectors: VectorTable, part: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return the mean vector over the lights of each part, unit length, float32 (m, d)."""
    place = np.full(int(part.max(initial=-1)) + 1, -1, np.int64)
    place[positions] = np.arange(len(positions))
    total = np.zeros((len(positions), vectors.dim))
    start = 0
    for block in vectors.blocks(GATHER_ROWS):
        where = place[part[start : start + len(block)]]
        np.add.at(total, where[where >= 0], block[where >= 0].astype(np.float64))
        start += len(block)
    return normalise(total.astype(np.float32))


def part_cells(
    pictures: Pictures, part: np.ndarray, positions: np.ndarray, levels: int | None = None
) -> np.ndarray:
    """Return where parts differ from their goldens (m,) int64, see :func:`.place.cells_of`."""
    if len(pictures) != len(part):
        raise ValueError(f"pictures of {len(pictures)} rows for a pool of {len(part)}")
    rows: dict[int, list[Pair]] = {position: [] for position in positions.tolist()}
    for pair, position in zip(pictures, part.tolist(), strict=True):
        if position in rows:
            rows[position].append(pair)
    return cells_of([rows[position] for position in positions.tolist()], levels=levels)


def copies_in(pool: pd.DataFrame, hashes: np.ndarray, bits: int) -> np.ndarray:
    """Return which rows (n,) bool are near-copies of a row of the same light and label before it.

    ``hashes``: (n,) uint64 difference hashes of the pool's pictures. "Before" is by ``filepath``.
    A small defect does not show in the hash, so labels are kept apart.
    """
    gone = np.zeros(len(pool), bool)
    order = np.argsort(pool["filepath"].to_numpy(str), kind="stable")
    groups = pool["light"].to_numpy(str)[order], pool["label"].to_numpy(str)[order]
    frame = pd.DataFrame({"at": order, "light": groups[0], "label": groups[1]})
    for _, rows in frame.groupby(["light", "label"], sort=True):
        at = rows["at"].to_numpy()
        gone[at] = ~first_of_copies(hashes[at], bits)
    return gone


def fresh_parts(rows: pd.DataFrame, taken: frozenset[Key]) -> int:
    """Return how many distinct parts of ``rows`` are not in the training table yet."""
    return len(set(part_keys(rows)) - taken)


def advice(name: str, new_parts: int, budget: int, free: int) -> list[str]:
    """Return what to do when a lap found no new part, or fewer than wanted; else nothing.

    ``free``: parts of the pool that are not in the training table.
    """
    if new_parts == 0 and free == 0:
        return ["pool_exhausted: every part of the pool is in the training table; add pool rows"]
    if new_parts == 0 and name != "none":
        return [
            f"pool_exhausted: {free} parts of the pool are not in the training table, but none "
            "passed: lower min_similarity, raise top_k_per_target, set mining_skip_known: true, "
            "loosen mining_min_distance or mining_label_quota, or choose mining: balanced"
        ]
    if name != "none" and new_parts < budget:
        return [f"{new_parts} of {budget} wanted parts passed; the pool may be running out"]
    return []
