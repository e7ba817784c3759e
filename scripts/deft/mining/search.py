"""Exact cosine k-NN: nearest rows of a table of any size, in bounded memory.

Blocks of float32 products find every row that *may* be among a target's ``k`` nearest; those
few are computed again in float64, rounded to six decimals, and ordered by cosine, then
by tie rank. A row is discarded only when its float32 product lies below the k-th best so far by
more than the greatest error that the product can have, so the result is that of a float64
search whatever the block size, the number of threads, the device or the order of the rows.

Vectors too near to call: two rows whose float64 cosines round to the same six decimals are equal
in similarity, and the tie rank (``filepath`` in the mining stage) decides.
"""

from __future__ import annotations

import hashlib
import warnings
from queue import SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from deft.embedding.vectors import VectorTable, as_table, for_each_block
from deft.mining.cosine import ROUNDING, check_unit, full_precision, product_error, rounded_cosine

if TYPE_CHECKING:
    import torch

BLOCK_ROWS = 8192  # large enough for the product's full rate, small enough for the cache
TILE_ROWS = 2048  # targets of one product
MIN_BLOCK_ROWS = 16
CHUNK = 128  # products of one target that are looked into only if their greatest may count
CROWD = 64  # survivors of one target and block beyond 4 k + this are thinned first
PAIR_BYTES = 2**24  # of one float64 array of candidate vectors, at most
PAIRS = 2**19  # candidates compared at once, at most
NO_RANK = np.iinfo(np.int64).max


def top_k(
    targets: np.ndarray,
    sources: np.ndarray | VectorTable,
    k: int,
    *,
    memory_mb: float = 512,
    rank: np.ndarray | None = None,
    target_group: np.ndarray | None = None,
    source_group: np.ndarray | None = None,
    device: str = "cpu",
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``k`` most similar sources of every target.

    Parameters
    ----------
    targets: (m, d) float32; sources: n rows of d. Rows have unit length or are zero; a zero row
        has cosine 0 with everything.
    k: neighbours wanted; fewer come back when n < k.
    memory_mb: bound of what the search holds beside ``targets``, ``rank``, the groups and the
        result: blocks of sources and of similarities, and candidates. Blocks of fewer than
        ``MIN_BLOCK_ROWS`` rows are not made, however small the bound.
    rank: (n,) int64, distinct; of equally similar sources the lower rank comes first. Default:
        the row number.
    target_group, source_group: (m,) and (n,) int64; only sources of a target's own group count.
    device: torch device of the float32 products.

    Returns
    -------
    (m, w) int64 indices and float64 cosines rounded to 6 decimals, best first, w = min(k, n).
    Where a group has fewer than w sources the rest is -1 with cosine -inf.

    Raises
    ------
    ValueError for rows that are neither unit length nor zero (NaN included), or widths that differ.
    """
    import torch

    table = as_table(sources)
    width = min(k, table.rows)
    if width <= 0 or len(targets) == 0:
        shape = (len(targets), max(width, 0))
        return np.full(shape, -1, np.int64), np.full(shape, -np.inf)
    if targets.shape[1] != table.dim:
        raise ValueError(f"targets have {targets.shape[1]} dimensions, sources {table.dim}")
    check_unit(torch.from_numpy(np.ascontiguousarray(targets)), "target", 0)
    workers = torch.get_num_threads() if torch.device(device).type == "cpu" else 1
    tile = min(len(targets), TILE_ROWS)
    # A worker's block, its copy by group and one read ahead; similarities and their selection.
    row_bytes = 4 * (3 * table.dim + 3 * tile)
    rows = int(memory_mb * 2**20 * 0.5 / workers / row_bytes)
    rows = max(MIN_BLOCK_ROWS, min(BLOCK_ROWS, rows))
    budget = int(memory_mb * 2**20 / workers)
    state = _Search(targets, width, device, tile * rows, workers, budget)
    members = groups_of(len(targets), target_group)

    def compete(block: np.ndarray, start: int) -> None:
        stop = start + len(block)
        check_unit(_tensor(block), "source", start)
        ids = np.arange(start, stop)
        ranks = ids if rank is None else np.asarray(rank[start:stop], np.int64)
        for group, mine in members:
            inside: slice | np.ndarray = slice(None)
            if source_group is not None:
                inside = np.flatnonzero(source_group[start:stop] == group)
                if len(inside) == 0:
                    continue
                if len(inside) == len(block):
                    inside = slice(None)
            state.add(mine, block[inside], ids[inside], ranks[inside])

    with full_precision(), warnings.catch_warnings():
        # Mapped and decoded blocks are read-only; torch warns of that, and nothing here writes.
        warnings.filterwarnings("ignore", message=".*not writable", category=UserWarning)
        for_each_block(table, rows, compete, workers)
    return state.row, state.cosine


class _Search:
    """The best ``k`` of every target so far, and the blocks' way into it."""

    def __init__(
        self,
        targets: np.ndarray,
        k: int,
        device: str,
        score_count: int,
        workers: int,
        budget_bytes: int,
    ) -> None:
        import torch

        self.k, self.device = k, torch.device(device)
        self.targets = targets
        self.on_device = torch.from_numpy(np.ascontiguousarray(targets)).to(self.device)
        wide = (row.astype(np.float64) for row in targets)
        self.length = np.array([np.linalg.norm(row) for row in wide])
        self.margin = product_error(targets.shape[1]) + ROUNDING
        self.cosine = np.full((len(targets), k), -np.inf)
        self.rank = np.full((len(targets), k), NO_RANK, np.int64)
        self.row = np.full((len(targets), k), -1, np.int64)
        self.merging = Lock()
        # Buffers outlive their block: fresh memory costs as much as the comparison.
        self.buffers: SimpleQueue[torch.Tensor] = SimpleQueue()
        for _ in range(workers):
            self.buffers.put(torch.empty(score_count, dtype=torch.float32, device=self.device))
        self.pair_rows = max(1, min(PAIR_BYTES, budget_bytes // 16) // (8 * targets.shape[1]))
        self.pairs = max(1, min(PAIRS, budget_bytes // 512))

    def add(self, mine: np.ndarray, block: np.ndarray, ids: np.ndarray, ranks: np.ndarray) -> None:
        """Let ``block`` (b, d), rows ``ids`` of the table, compete for the targets ``mine``."""
        import torch

        on_device = _tensor(block).to(self.device)
        buffer = self.buffers.get()
        try:
            for start in range(0, len(mine), TILE_ROWS):
                tile = mine[start : start + TILE_ROWS]
                whole = len(tile) == len(self.on_device)
                left = self.on_device if whole else self.on_device[torch.from_numpy(tile)]
                scores = buffer[: len(tile) * len(block)].view(len(tile), len(block))
                torch.mm(left, on_device.T, out=scores)
                self._compete(tile, scores, block, ids, ranks)
        finally:
            self.buffers.put(buffer)

    def _thin(
        self, scores: torch.Tensor, floor: torch.Tensor, block: np.ndarray, ranks: np.ndarray
    ) -> None:
        """Raise the floors (t,) of targets with many survivors; scores (t, b) may change."""
        import torch

        limit = 4 * self.k + CROWD
        many = ((scores >= floor[:, None]).sum(dim=1) > limit).nonzero().squeeze(1)
        if len(many) == 0:
            return
        crowded = scores[many]
        kth = crowded.topk(self.k, dim=1).values[:, -1] - 2 * self.margin
        floor[many] = torch.maximum(floor[many], kth)
        above = crowded >= floor[many, None]
        if int(above.sum(dim=1).max()) > limit:
            # Copies of one picture crowd the top. Of rows that are equal bit for bit no more than
            # the k of lowest rank can be chosen.
            columns = above.any(dim=0).nonzero().squeeze(1).cpu().numpy()
            spare = self._spare_copies(block, columns, ranks)
            scores[:, torch.from_numpy(spare).to(self.device)] = -torch.inf

    def _spare_copies(
        self, block: np.ndarray, columns: np.ndarray, ranks: np.ndarray
    ) -> np.ndarray:
        seen: dict[bytes, int] = {}
        spare = []
        for column in columns[np.argsort(ranks[columns])]:
            key = hashlib.blake2b(block[column].tobytes(), digest_size=32).digest()
            seen[key] = seen.get(key, 0) + 1
            if seen[key] > self.k:
                spare.append(column)
        return np.array(spare, np.int64)

    def _compete(
        self,
        tile: np.ndarray,
        scores: torch.Tensor,
        block: np.ndarray,
        ids: np.ndarray,
        ranks: np.ndarray,
    ) -> None:
        """Find what a block offers the targets ``tile``, from its products (t, b)."""
        import torch

        width = scores.shape[1]
        chunk = max(1, min(CHUNK, width // (4 * self.k)))
        # Another thread may raise these meanwhile; a floor that is too low only costs time.
        floor = torch.from_numpy(self.cosine[tile, -1] - self.margin).float().to(self.device)
        best = _chunk_maxima(scores, chunk)
        if best.shape[1] >= self.k:
            # k rows of this block have at least this product, so the final k-th is no worse.
            kth = best.topk(self.k, dim=1).values[:, -1] - 2 * self.margin
            floor = torch.maximum(floor, kth)
        hit = best >= floor[:, None]
        if best.shape[1] < self.k or int(hit.sum(dim=1).max()) > 2 * self.k + 8:
            self._thin(scores, floor, block, ranks)
            hit = _chunk_maxima(scores, chunk) >= floor[:, None]
        which, part = hit.nonzero(as_tuple=True)
        step = max(1, self.pairs // chunk)
        offsets = torch.arange(chunk, device=self.device)
        for low in range(0, len(which), step):
            row = which[low : low + step]
            column = part[low : low + step, None] * chunk + offsets
            value = scores[row[:, None], column.clamp(max=width - 1)]
            near = (value >= floor[row, None]) & (column < width)
            self._admit(
                tile[row[near.nonzero(as_tuple=True)[0]].cpu().numpy()],
                column[near].cpu().numpy(),
                block,
                ids,
                ranks,
            )

    def _admit(
        self,
        target: np.ndarray,
        column: np.ndarray,
        block: np.ndarray,
        ids: np.ndarray,
        ranks: np.ndarray,
    ) -> None:
        """Compute pairs of target and row of ``block`` exactly and merge them."""
        if len(target) == 0:
            return
        cosine = np.empty(len(target))
        for i in range(0, len(target), self.pair_rows):
            part = slice(i, i + self.pair_rows)
            cosine[part] = rounded_cosine(
                self.targets[target[part]].astype(np.float64),
                self.length[target[part]],
                block[column[part]].astype(np.float64),
            )
        with self.merging:
            self._merge(target, cosine, ranks[column], ids[column])

    def _merge(
        self, target: np.ndarray, cosine: np.ndarray, rank: np.ndarray, row: np.ndarray
    ) -> None:
        """Merge candidates, flat arrays of one length, into the best of their targets."""
        changed, slot = np.unique(target, return_inverse=True)
        slot = np.concatenate([np.repeat(np.arange(len(changed)), self.k), slot])
        cosine = np.concatenate([self.cosine[changed].ravel(), cosine])
        rank = np.concatenate([self.rank[changed].ravel(), rank])
        row = np.concatenate([self.row[changed].ravel(), row])
        order = np.lexsort([rank, -cosine, slot])
        first = np.searchsorted(slot[order], np.arange(len(changed)))
        place = np.arange(len(order)) - first[slot[order]]
        best = order[place < self.k].reshape(-1, self.k)
        self.cosine[changed], self.rank[changed] = cosine[best], rank[best]
        self.row[changed] = row[best]


def _chunk_maxima(scores: torch.Tensor, chunk: int) -> torch.Tensor:
    """Return the greatest of every ``chunk`` columns, (t, ceil(b / chunk))."""
    import torch

    whole = scores.shape[1] // chunk * chunk
    best: torch.Tensor = scores[:, :whole].unflatten(1, (-1, chunk)).amax(dim=2)
    if whole == scores.shape[1]:
        return best
    return torch.cat([best, scores[:, whole:].amax(dim=1, keepdim=True)], dim=1)


def groups_of(count: int, group: np.ndarray | None) -> list[tuple[int, np.ndarray]]:
    """Return each group and the rows that it has; without groups one group 0 of all rows."""
    if group is None:
        return [(0, np.arange(count))]
    return [(int(g), np.flatnonzero(group == g)) for g in np.unique(group)]


def _tensor(block: np.ndarray) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray(block))
