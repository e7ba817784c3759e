"""The exact search against a bare matrix product and FAISS FlatIP; growth with the pool.

    python benchmarks/search.py                  # 10^4 to 10^6 rows, 2 threads, 8 GB of memory
    python benchmarks/search.py --rows 10000 100000

Prints ratios: their medians over interleaved repeats, and the range of the repeats. Every repeat
times all contenders one after another, so that whatever else the machine does falls on all of them.
The growth is measured in processes of their own that stream the vectors from a file of embeddings,
as the mining stage does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from deft.embedding.embed import normalise, write_embeddings
from deft.embedding.vectors import ParquetVectors
from deft.mining.approximate import Search
from deft.mining.search import top_k

SEED = 20


class Encoder:
    """Stands for the encoder of the made-up vectors."""

    name, digest = "random", "0"

    def __init__(self, dim: int) -> None:
        self.dim = dim


def unit_rows(count: int, dim: int, seed: int) -> np.ndarray:
    """Return float32 (count, dim) rows in random directions, made in parts."""
    rng = np.random.default_rng(seed)
    rows = np.empty((count, dim), np.float32)
    for start in range(0, count, 50_000):
        part = rows[start : start + 50_000]
        part[:] = normalise(rng.standard_normal(part.shape, np.float32))
    return rows


def seconds(work: Callable[[], object]) -> float:
    """Return the wall time of ``work`` in seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def spread(values: list[float]) -> str:
    """Return the median and the range of some ratios."""
    return f"{np.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def against_others(given: argparse.Namespace, count: int) -> None:
    """Print search / matmul / FAISS at one size, all on the same array in memory."""
    import faiss
    import torch

    faiss.omp_set_num_threads(given.threads)
    index = faiss.IndexFlatIP(given.dim)
    index.add(unit_rows(count, given.dim, SEED))
    # All work on the index's own array: one copy of 3 GB is enough.
    sources = faiss.rev_swig_ptr(index.get_xb(), count * given.dim).reshape(count, given.dim)
    targets = unit_rows(given.targets, given.dim, SEED + 1)
    left, right = torch.from_numpy(targets), torch.from_numpy(sources)
    out = torch.zeros(given.targets, count)
    contenders: dict[str, Callable[[], object]] = {
        "matmul": lambda: torch.mm(left, right.T, out=out),
        "search": lambda: top_k(targets, sources, given.k, memory_mb=given.memory_mb),
        "faiss": lambda: index.search(targets, given.k),
    }
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for repeat in range(given.repeats + 1):
        for name, work in contenders.items():
            taken = seconds(work)
            if repeat:  # the first round only warms up
                times[name].append(taken)
    rate = [m / s for m, s in zip(times["matmul"], times["search"], strict=True)]
    flat = [f / s for f, s in zip(times["faiss"], times["search"], strict=True)]
    print(f"{count:>9,} rows: search reaches {spread(rate)} of the bare product's rate (goal 0.8)")
    print(f"{count:>9,} rows: FAISS FlatIP takes {spread(flat)} times as long as the search")
    for kind in given.approximate:
        chosen = Search(kind, given.memory_mb)
        began = time.perf_counter()
        chosen.top_k(targets, sources, given.k)
        ratio = (time.perf_counter() - began) / np.median(times["search"])
        print(f"{count:>9,} rows: {chosen.sentence()}; index and search take {ratio:.1f} times")
    print(flush=True)


def streamed(given: argparse.Namespace) -> None:
    """Search one file of embeddings; print time and peak memory of doing so as JSON."""
    import torch

    torch.set_num_threads(given.threads)
    targets = unit_rows(given.targets, given.dim, SEED + 1)
    top_k(targets, unit_rows(100, given.dim, SEED), given.k)  # loads the libraries
    before = peak_mb()
    taken = seconds(
        lambda: top_k(targets, ParquetVectors(given.stream), given.k, memory_mb=given.memory_mb)
    )
    print(json.dumps({"s": taken, "mb": peak_mb() - before}))


def peak_mb() -> float:
    """Return the greatest resident size of this process so far, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status has no VmHWM")


def growth(given: argparse.Namespace, folder: Path) -> None:
    """Print how time and peak memory grow over the sizes, streamed from files."""
    files = {}
    for count in given.rows:
        rows = unit_rows(count, given.dim, SEED)
        table = pd.DataFrame({"filepath": [f"/pool/{i:07d}.png" for i in range(count)]})
        files[count] = write_embeddings(
            folder / f"{count}.parquet", table, rows, Encoder(given.dim)
        )
        del rows, table
    taken: dict[int, list[dict[str, float]]] = {count: [] for count in given.rows}
    for _ in range(given.repeats):
        for count, path in files.items():
            given_again = [a for a in sys.argv[1:] if a != "--only-growth"]
            command = [sys.executable, __file__, *given_again, "--stream", str(path)]
            answer = subprocess.run(command, check=True, capture_output=True, text=True)
            taken[count].append(json.loads(answer.stdout))
    first = given.rows[0]
    for count in given.rows[1:]:
        time_ratio = [b["s"] / a["s"] for a, b in zip(taken[first], taken[count], strict=True)]
        memory = [b["mb"] / a["mb"] for a, b in zip(taken[first], taken[count], strict=True)]
        print(
            f"{first:,} to {count:,} rows, streamed: {count / first:.0f} times the rows take "
            f"{spread(time_ratio)} times the time and {spread(memory)} times the memory"
        )
    worst = max(one["mb"] for each in taken.values() for one in each)
    print(f"peak of any: {worst / given.memory_mb:.2f} of search_memory_mb = {given.memory_mb}")


def main() -> None:
    """Run the benchmark."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--targets", type=int, default=400)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--k", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory-mb", type=int, default=512)
    parser.add_argument("--approximate", nargs="*", default=[], choices=("ivf", "hnsw"))
    parser.add_argument("--only-growth", action="store_true")
    parser.add_argument("--stream", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stream:
        streamed(given)
        return
    torch.set_num_threads(given.threads)
    print(f"{given.targets} targets, {given.dim} dimensions, k = {given.k}, "
          f"{given.threads} threads, {given.repeats} repeats\n")  # fmt: skip
    if not given.only_growth:
        for count in given.rows[1:]:
            against_others(given, count)
    with tempfile.TemporaryDirectory() as folder:
        growth(given, Path(folder))


if __name__ == "__main__":
    main()
