"""The configured kind of search: exact, or an approximate FAISS index with its measured recall.

An approximate index proposes candidates; their cosines and their order are then those of the exact
search, so only a missed neighbour can differ. How many are missed is measured, against the exact
search of a sample of the targets, and belongs to the result.

FAISS holds the whole table in memory (n x d floats, HNSW also its links): ``memory_mb`` bounds the
exact search only. HNSW is built by several threads, so its misses may differ between runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deft.embedding.vectors import VectorTable, as_table
from deft.mining.cosine import exact_cosine
from deft.mining.search import groups_of, top_k
from deft.tables.spread import spread_rows

KINDS = ("exact", "ivf", "hnsw")
RECALL_TARGETS = 64  # at most so many targets are searched exactly for the recall
FILL_ROWS = 16384  # rows added to an index at once
IVF_TRAIN_PER_LIST = 64  # rows per list that k-means sees; FAISS advises 39 to 256
IVF_PROBED_SHARE = 16  # one list in so many is searched
HNSW_LINKS = 32
HNSW_BUILD_DEPTH = 80
HNSW_SEARCH_DEPTH = 128


@dataclass
class Search:
    """How neighbours are searched; ``facts`` tells afterwards what an approximate one missed.

    ``kind``: one of :data:`KINDS`. ``memory_mb``, ``device``: see :func:`deft.mining.search.top_k`.
    ``facts`` stays empty for ``exact``.
    """

    kind: str = "exact"
    memory_mb: float = 512
    device: str = "cpu"
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"search is one of {', '.join(KINDS)}, not {self.kind!r}")

    def top_k(
        self, targets: np.ndarray, sources: np.ndarray | VectorTable, k: int, **given: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what :func:`deft.mining.search.top_k` returns, with the same further arguments."""
        if self.kind == "exact":
            given = {"memory_mb": self.memory_mb, "device": self.device, **given}
            return top_k(targets, sources, k, **given)
        index, cosine = approximate_top_k(targets, sources, k, self.kind, **given)
        sample = sample_of(len(targets))
        if "target_group" in given:
            given["target_group"] = given["target_group"][sample]
        _, exact = top_k(
            targets[sample], sources, k, memory_mb=self.memory_mb, device=self.device, **given
        )
        group = given.get("source_group", np.zeros(as_table(sources).rows, np.int64))
        largest = int(np.bincount(group[group >= 0]).max(initial=0))
        self.facts = {
            "kind": self.kind,
            "recall_at_k": recall(cosine[sample], exact),
            "recall_targets": len(sample),
            **index_facts(self.kind, largest),  # each group has an index of its own
        }
        return index, cosine

    def sentence(self) -> str:
        """Return one line on an approximate search that has run."""
        return (
            f"search {self.facts['kind']}: recall@k {self.facts['recall_at_k']:.4f}, measured "
            f"against the exact search on {self.facts['recall_targets']} weak samples"
        )


def sample_of(count: int) -> np.ndarray:
    """Return at most ``RECALL_TARGETS`` row numbers, evenly spread over ``count`` rows."""
    return spread_rows(count, RECALL_TARGETS)


def recall(found: np.ndarray, exact: np.ndarray) -> float:
    """Return which share of the exact neighbours was found, as good or better, in 0..1.

    Both (m, w) float64 rounded cosines, best first, -inf where there is no neighbour. A neighbour
    counts as found where one as similar as the worst exact one stands in its place.
    """
    there = np.isfinite(exact)
    if not there.any():
        return 1.0
    worst = np.where(there, exact, np.inf).min(axis=1, keepdims=True)
    return float(((found >= worst) & there).sum() / there.sum())


def approximate_top_k(
    targets: np.ndarray,
    sources: np.ndarray | VectorTable,
    k: int,
    kind: str,
    *,
    rank: np.ndarray | None = None,
    target_group: np.ndarray | None = None,
    source_group: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return about what :func:`deft.mining.search.top_k` returns, by a FAISS index per group."""
    table = as_table(sources)
    width = min(k, table.rows)
    rows = np.full((len(targets), max(width, 0)), -1, np.int64)
    cosine = np.full(rows.shape, -np.inf)
    if width <= 0 or len(targets) == 0:
        return rows, cosine
    rank = np.arange(table.rows) if rank is None else rank
    source_group = np.zeros(table.rows, np.int64) if source_group is None else source_group
    for group, mine in groups_of(len(targets), target_group):
        members = np.flatnonzero(source_group == (0 if target_group is None else group))
        if len(members) == 0:
            continue
        index = build_index(table, members, kind)
        # More than k, for the order among equals is decided by the exact cosine and the rank.
        wanted = min(len(members), 2 * width + 16)
        _, found = _on_gpu(index).search(np.ascontiguousarray(targets[mine]), wanted)
        for target, candidates in zip(mine, found, strict=True):
            candidates = candidates[candidates >= 0]
            exact = exact_cosine(targets[target], index.reconstruct_batch(candidates))
            ids = members[candidates]
            order = np.lexsort([rank[ids], -exact])[:width]
            rows[target, : len(order)] = ids[order]
            cosine[target, : len(order)] = exact[order]
    return rows, cosine


def index_facts(kind: str, count: int) -> dict[str, int]:
    """Return the settings of an index over ``count`` rows."""
    if kind == "hnsw":
        return {"links": HNSW_LINKS, "search_depth": HNSW_SEARCH_DEPTH}
    lists = max(1, min(int(4 * np.sqrt(count)), count // 39))
    return {"lists": lists, "probed_lists": max(min(lists, 8), lists // IVF_PROBED_SHARE)}


def build_index(table: VectorTable, members: np.ndarray, kind: str) -> Any:
    """Return a FAISS inner-product index of the rows ``members`` (ascending), in that order."""
    import faiss  # seconds of import, wanted only here

    settings = index_facts(kind, len(members))
    index: Any
    if kind == "hnsw":
        index = faiss.IndexHNSWFlat(table.dim, HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = HNSW_BUILD_DEPTH
        index.hnsw.efSearch = HNSW_SEARCH_DEPTH
    else:
        quantizer = faiss.IndexFlatIP(table.dim)
        lists = settings["lists"]
        index = faiss.IndexIVFFlat(quantizer, table.dim, lists, faiss.METRIC_INNER_PRODUCT)
        index.nprobe = settings["probed_lists"]
        # FAISS's stubs leave it out.
        index.set_direct_map_type(faiss.DirectMap.Array)  # type: ignore[attr-defined]
        count = min(len(members), lists * IVF_TRAIN_PER_LIST)
        chosen = members[np.linspace(0, len(members) - 1, count).astype(np.int64)]
        index.train(np.concatenate(list(_rows_of(table, np.unique(chosen)))))
    for part in _rows_of(table, members):
        index.add(part)
    return index


def _rows_of(table: VectorTable, members: np.ndarray) -> Any:
    start = 0
    for block in table.blocks(FILL_ROWS):
        low, high = np.searchsorted(members, [start, start + len(block)])
        if high > low:
            yield np.ascontiguousarray(block[members[low:high] - start])
        start += len(block)


def _on_gpu(index: Any) -> Any:
    """Return the index on the GPUs where FAISS has them and knows its kind, or as it is."""
    import faiss

    if not hasattr(faiss, "StandardGpuResources") or faiss.get_num_gpus() == 0:
        return index
    if isinstance(index, faiss.IndexHNSWFlat):
        return index  # FAISS searches HNSW on the CPU only
    return faiss.index_cpu_to_all_gpus(index)
