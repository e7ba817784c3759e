"""The exact search on the device: the CPU's neighbours and cosines; FAISS on a GPU if there."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator

import numpy as np
import torch

from deft.embedding.encoders.base import unit_rows
from deft.mining.search import top_k
from gpu_check.bench import Bench
from gpu_check.result import Result, judged, not_checked

DIM, K = 768, 10
FAISS_RECALL = 0.999


def search(bench: Bench) -> Iterator[Result]:
    """Search vectors with copies, near-copies and zero rows on both."""
    torch.set_num_threads(bench.threads)
    rows, targets = bench.pick(200_000, 8_000), bench.pick(1_000, 100)
    sources, wanted = _vectors(rows, targets)
    found, took = [], {}
    for name, device in (("cpu", "cpu"), ("device", bench.name)):
        if name == "device":
            top_k(wanted[:64], sources[:4096], K, device=device)  # warm up
        began = time.perf_counter()
        found.append(top_k(wanted, sources, K, device=device))
        took[name] = time.perf_counter() - began
    figures = {
        "neighbours_that_differ": int((found[0][0] != found[1][0]).sum()),
        "cosines_that_differ": int((found[0][1] != found[1][1]).sum()),
        "rows": rows,
        "targets": targets,
        "cpu_s": took["cpu"],
        "device_s": took["device"],
        "bare_product_s": _product(bench, wanted, sources),
    }
    yield judged("search", figures, {"neighbours_that_differ": 0, "cosines_that_differ": 0})
    yield _faiss(bench, wanted, sources, found[0][1])


def _vectors(rows: int, targets: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    centres = rng.standard_normal((64, DIM), np.float32)
    away = rng.standard_normal((rows, DIM), np.float32)
    sources = unit_rows(centres[rng.integers(0, 64, rows)] + 0.5 * away)
    sources[1::97] = sources[0]  # copies, ties to the lower row
    sources[2::101] = unit_rows(sources[2::101] + 1e-5 * sources[:1])
    sources[5] = 0
    noise = rng.standard_normal((targets, DIM), np.float32)
    wanted = unit_rows(sources[rng.integers(0, rows, targets)] + 0.1 * noise)
    return sources, wanted


def _product(bench: Bench, wanted: np.ndarray, sources: np.ndarray) -> float:
    """Return the seconds of one product of both tables, copied to the device before."""
    left, right = (torch.from_numpy(part).to(bench.device) for part in (wanted, sources))
    for last in (False, True):
        began = time.perf_counter()
        for start in range(0, len(right), 8192):
            left @ right[start : start + 8192].T
        if bench.cuda:
            torch.cuda.synchronize()
        if last:
            return time.perf_counter() - began
    raise AssertionError


def _faiss(bench: Bench, wanted: np.ndarray, sources: np.ndarray, best: np.ndarray) -> Result:
    name = "FAISS GPU"
    if importlib.util.find_spec("faiss") is None:
        return not_checked(name, "faiss is not there")
    import faiss

    if not hasattr(faiss, "StandardGpuResources") or not faiss.get_num_gpus():
        return not_checked(name, f"faiss {faiss.__version__} here is a build for the CPU")
    index = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, faiss.IndexFlatIP(DIM))
    index.add(sources)
    began = time.perf_counter()
    cosine, _ = index.search(wanted, K)
    figures = {
        "recall": float((cosine >= best - 1e-5).mean()),
        "search_s": time.perf_counter() - began,
    }
    return judged(name, figures, at_least={"recall": FAISS_RECALL})
