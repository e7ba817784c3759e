"""Medians of interleaved rounds, timed by CUDA's own events on a GPU."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch

WARM_UPS = 2  # kernels are chosen, memory is taken, clocks rise


def seconds_of(
    variants: Mapping[str, Callable[[], object]], device: torch.device, rounds: int, runs: int = 1
) -> dict[str, float]:
    """Return each variant's median seconds of one run.

    In every round all variants take turns, ``runs`` times each, so that whatever else the machine
    does falls on all of them alike.
    """
    for work in variants.values():
        for _ in range(WARM_UPS):
            work()
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, work in variants.items():
            times[name].append(_timed(work, device, runs) / runs)
    return {name: statistics.median(found) for name, found in times.items()}


def _timed(work: Callable[[], object], device: torch.device, runs: int) -> float:
    if device.type != "cuda":
        began = time.perf_counter()
        for _ in range(runs):
            work()
        return time.perf_counter() - began
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    first.record()
    for _ in range(runs):
        work()
    last.record()
    last.synchronize()
    return first.elapsed_time(last) / 1000


def flop_of(work: Callable[[], object]) -> int:
    """Return the floating-point operations of one run, as torch counts products."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()
