"""How fast and how large: cold run, warm runs split in three parts, batch sizes, peak memory."""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import Any

from .arrays import alike, shape_of, stack
from .decode import answer
from .folder import Folder, first_line
from .models import open_model
from .preprocess import item
from .sizes import phrase

PARTS = ("preprocess_ms", "model_ms", "postprocess_ms", "total_ms")
BATCH_RUNS = 3
BATCH_WARM_UP = 1
BATCH_BUDGET_S = 60.0  # no larger batch is begun after this


def ram_mib() -> float | None:
    """Return the largest resident memory of this process so far, MiB; None where unknown."""
    try:
        # Linux: getrusage would hand on what the parent held before it started this process.
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    except (OSError, ValueError):
        pass
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def summary(values: list[float]) -> dict[str, float]:
    """Return mean, median, 95th percentile (nearest rank), least and largest."""
    ordered = sorted(values)
    rank = max(0, -(-95 * len(ordered) // 100) - 1)
    return {
        "mean": statistics.fmean(ordered), "median": statistics.median(ordered),
        "p95": ordered[rank], "min": ordered[0], "max": ordered[-1],
    }  # fmt: skip


def timed(folder: Folder, contract: dict[str, Any], model: Any, sample: dict[str, Any]) -> Any:
    """Run one sample end to end; return its three parts and their sum in ms, feed and raw."""
    t0 = time.perf_counter()
    feed = item(folder, contract, sample)
    t1 = time.perf_counter()
    raw = model.run(feed)  # hands arrays on the CPU back, so the device has finished
    t2 = time.perf_counter()
    answer(contract, raw)
    t3 = time.perf_counter()
    parts = [1e3 * (t1 - t0), 1e3 * (t2 - t1), 1e3 * (t3 - t2), 1e3 * (t3 - t0)]
    return dict(zip(PARTS, parts)), feed, raw  # noqa: B905


def measure(folder: Folder) -> str:
    """Write ``outputs/stats.json`` from a fresh process; return the summary line."""
    parameters, contract = folder.parameters, folder.need("io_contract")
    samples = folder.need("inputs")["samples"]
    wanted = parameters["benchmark"]
    before = ram_mib()
    model = open_model(folder, parameters)
    cold, feed, raw = timed(folder, contract, model, samples[0])
    cold.update(model.seconds)
    runs = []
    feeds: list[dict[str, Any]] = []
    for number in range(int(wanted["warm_runs"])):
        parts, one, _ = timed(folder, contract, model, samples[number % len(samples)])
        runs.append(parts)
        if len(feeds) < len(samples):
            feeds.append(one)
    warm = {part: summary([r[part] for r in runs]) for part in PARTS}
    throughput = batches(model, contract, feeds or [feed], list(wanted["batch_sizes"]))
    good = [t for t in throughput if t["ok"]]
    is_remote = getattr(model, "remote", False)  # the memory is the server's, not this process's
    peak = max(good, key=lambda t: t["items_per_s"]) if good else None
    stats = {
        "schema_version": 1,
        "device": model.device,
        "provider": model.facts["provider"],
        "over": model.facts.get("over"),
        "threads": parameters["runtime"]["threads"],
        "cold": cold,
        "warm": {"runs": len(runs), **warm, "runs_total_ms": [r["total_ms"] for r in runs]},
        "throughput": throughput,
        "best_throughput": peak,
        "memory": {
            "peak_ram_mib": None if is_remote else ram_mib(),
            "ram_before_load_mib": None if is_remote else before,
            "peak_vram_mib": model.peak_vram_mib(),
        },
        "shapes": {
            "inputs": {n: shape_of(v) for n, v in feed.items()},
            "outputs": {n: shape_of(v) for n, v in raw.items()},
        },
    }
    folder.write("stats", stats)
    total = warm["total_ms"]
    return (
        f"cold {cold['total_ms']:.1f} ms, warm median {total['median']:.2f} ms, "
        f"p95 {total['p95']:.2f} ms{phrase(contract)}"
    )


def batches(
    model: Any, contract: dict[str, Any], feeds: list[dict[str, Any]], sizes: list[int]
) -> list[dict[str, Any]]:
    """Return items/s of the model alone per batch size; what cannot be run says why."""
    axes = {i["name"]: i["batch_axis"] for i in contract["inputs"]}
    if not contract["batch"]["free"]:
        sizes = [1]
    feeds = alike(feeds)
    out: list[dict[str, Any]] = []
    began = time.perf_counter()
    for size in sorted(set(sizes)):
        if out and time.perf_counter() - began > BATCH_BUDGET_S:
            out.append({"batch_size": size, "ok": False, "why": "left out: the time was up"})
            continue
        feed = stack([feeds[i % len(feeds)] for i in range(size)], axes) if size > 1 else feeds[0]
        try:
            for _ in range(BATCH_WARM_UP):
                model.run(feed)
            spent = []
            for _ in range(BATCH_RUNS):
                start = time.perf_counter()
                model.run(feed)
                spent.append(time.perf_counter() - start)
        except Exception as error:  # out of memory, or an axis that is not free after all
            out.append({"batch_size": size, "ok": False, "why": first_line(error, 160)})
            continue
        middle = statistics.median(spent)
        out.append(
            {
                "batch_size": size,
                "ok": True,
                "batch_ms_median": 1e3 * middle,
                "items_per_s": size / middle,
            }
        )
    return out
