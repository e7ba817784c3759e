"""Pairs a second of the C-RADIOv2-B ChangeNet beside bare ViT-B/16, memory by batch, compiling."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext

import numpy as np
import timm
import torch
from changenet_speed import together

from deft.changenet.precision import float32_scores
from deft.changenet.speed import prepare
from deft.core.errors import HardStop
from deft.core.hardware import BATCH_BY_MEMORY
from gpu_check.bench import SMALL, VIT_B, Bench, relative
from gpu_check.machine import peaks_of
from gpu_check.networks import network, pictures, spec_of
from gpu_check.result import Result, judged, not_checked
from gpu_check.timing import flop_of, seconds_of

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}
ON_CPU = {"float32": None}  # many CPUs have no bfloat16 instructions
# By its arithmetic the ChangeNet has 0.53 of the bare transformer's speed (docs/speed.md). Below
# half of that the card would be used half as well.
LEAST_RATIO = 0.25
COMPILE_LIMIT = 1e-4
CARD_SHARE = 0.97  # of the memory that the driver reports, the rest is the CUDA context


def pairs(bench: Bench) -> Iterator[Result]:
    """Time scoring and training beside ViT-B of the same pictures and precision."""
    torch.set_num_threads(bench.threads)
    side, count = bench.pick((224, 16), (64, 2))
    yield _rates(bench, "pairs/s scoring", _scoring(bench, side, count), count)
    gc.collect()  # the networks before
    if bench.cuda:
        torch.cuda.empty_cache()
    yield _rates(bench, "pairs/s training", _training(bench, side, count), count)


Work = dict[str, tuple[Callable[[], object], str]]


def _cast(bench: Bench, precision: str):
    dtype = PRECISIONS[precision]
    if dtype is None:
        return nullcontext()
    return torch.autocast(bench.device.type, dtype=dtype)


def _scoring(bench: Bench, side: int, count: int) -> Work:
    model = prepare(network(spec_of(VIT_B, side)).eval(), bench.device)
    vit = timm.create_model("vit_base_patch16_224", img_size=side).eval().to(bench.device)
    test, golden = pictures(count, side, bench.device)
    both = torch.cat([test, golden])

    def run(work: Callable[[], object], precision: str) -> Callable[[], object]:
        def scored() -> object:
            with torch.inference_mode(), float32_scores(), _cast(bench, precision):
                return work()

        return scored

    return {
        f"{who} {precision}": (run(work, precision), precision)
        for precision in bench.pick(PRECISIONS, ON_CPU)
        for who, work in (
            ("vit", lambda: vit(both)),
            ("ours", lambda: together(model, test, golden)),
        )
    }


def _training(bench: Bench, side: int, count: int) -> Work:
    """Forward, backward and AdamW; float32 with TF32 as torch trains by default."""
    model = prepare(network(spec_of(VIT_B, side)), bench.device).train()
    vit = timm.create_model("vit_base_patch16_224", img_size=side).to(bench.device).train()
    test, golden = pictures(count, side, bench.device)
    both = torch.cat([test, golden])
    label = (torch.arange(count, device=bench.device) % 2).float()[:, None]
    ours = torch.optim.AdamW(model.parameters(), lr=1e-5)
    theirs = torch.optim.AdamW(vit.parameters(), lr=1e-5)

    def step(who: str, precision: str) -> Callable[[], object]:
        def made() -> None:
            optimizer = ours if who == "ours" else theirs
            optimizer.zero_grad(set_to_none=True)
            with _cast(bench, precision):
                output = model(test, golden) if who == "ours" else vit(both)
            if who == "ours":
                model.criterion(output.float(), label).backward()
            else:
                output.float().square().mean().backward()
            optimizer.step()

        return made

    return {
        f"{who} {precision}": (step(who, precision), precision)
        for precision in bench.pick(PRECISIONS, ON_CPU)
        for who in ("vit", "ours")
    }


def _rates(bench: Bench, name: str, work: Work, count: int) -> Result:
    flop = {key: flop_of(run) for key, (run, _) in work.items()}
    runs = {key: run for key, (run, _) in work.items()}
    took = seconds_of(runs, bench.device, rounds=bench.pick(5, 1), runs=bench.pick(3, 1))
    peaks = peaks_of(bench)
    figures: dict[str, object] = {"pairs_a_batch": count}
    for i, precision in enumerate(bench.pick(PRECISIONS, ON_CPU)):
        ours, vit = f"ours {precision}", f"vit {precision}"
        figures |= {
            f"{precision}_pairs_s": count / took[ours],
            f"{precision}_beside_vit_b": took[vit] / took[ours],
            f"{precision}_vit_b_pairs_s": count / took[vit],
            f"{precision}_flop_rate_beside_vit_b": flop[ours]
            / took[ours]
            / (flop[vit] / took[vit]),
        }
        if peaks:
            figures[f"{precision}_share_of_peak"] = flop[ours] / took[ours] / peaks[i] / 1e12
            figures[f"{precision}_vit_b_share_of_peak"] = flop[vit] / took[vit] / peaks[i] / 1e12
    if not bench.cuda:
        return judged(name, figures)
    bounds = {f"{precision}_beside_vit_b": LEAST_RATIO for precision in PRECISIONS}
    return judged(name, figures, at_least=bounds)


def memory(bench: Bench) -> Iterator[Result]:
    """Measure a training step's peak memory by batch size; hold pre-flight's rule against it."""
    name = "memory by batch size"
    if not bench.cuda:
        yield not_checked(name, "it measures a card's memory")
        return
    model = prepare(network(spec_of(VIT_B, 224)), bench.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    peaks: dict[str, dict[int, float]] = {}
    free = torch.cuda.mem_get_info(bench.device)[1] / 2**30
    for precision in PRECISIONS:
        peaks[precision] = {}
        for count in (2, 4, 8, 16, 26, 32, 48):
            found = peaks[precision]
            if len(found) > 1 and _line(found, count) > CARD_SHARE * free:
                break
            try:
                found[count] = _peak(bench, model, optimizer, count, precision)
            except torch.OutOfMemoryError:
                break
            finally:
                optimizer.zero_grad(set_to_none=True)
                torch.cuda.empty_cache()
    plain = peaks["float32"]
    wrong = []
    for card, batch in BATCH_BY_MEMORY:
        need = _line(plain, batch)
        if card and need > CARD_SHARE * card:
            wrong.append(f"{batch} pairs need {need:.1f} GiB, more than a card of {card:g} has")
    slope = {key: _fit(found)[0] for key, found in peaks.items()}
    base = {key: _fit(found)[1] for key, found in peaks.items()}
    figures = {f"{key}_gib_a_pair": slope[key] for key in peaks}
    figures |= {f"{key}_gib_before_pairs": base[key] for key in peaks}
    figures |= {
        f"{key}_peak_gib": {str(n): p for n, p in found.items()} for key, found in peaks.items()
    }
    for card in (80, 48, 24, 16, 12):
        # 7 % below the name is what drivers report.
        fits = int((0.93 * CARD_SHARE * card - base["float32"]) / slope["float32"])
        figures[f"pairs_that_fit_{card}_gb"] = max(0, fits)
    yield judged(name, figures, broken="; ".join(wrong))


def _peak(bench: Bench, model, optimizer, count: int, precision: str) -> float:
    """Return the most memory in GiB that two steps held (AdamW's state comes with the first)."""
    test, golden = pictures(count, 224, bench.device)
    label = (torch.arange(count, device=bench.device) % 2).float()[:, None]
    for _ in range(2):
        torch.cuda.reset_peak_memory_stats()
        optimizer.zero_grad(set_to_none=True)
        with _cast(bench, precision):
            output = model(test, golden)
        model.criterion(output.float(), label).backward()
        optimizer.step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_reserved() / 2**30


def _fit(peaks: dict[int, float]) -> tuple[float, float]:
    """Return GiB a pair and GiB before any, from the larger batches."""
    larger = sorted(peaks)[-4:]
    slope, base = np.polyfit(larger, [peaks[n] for n in larger], 1)
    return float(slope), float(base)


def _line(peaks: dict[int, float], count: int) -> float:
    """Return the measured GiB of ``count`` pairs, or what the line through the others says."""
    if count in peaks:
        return peaks[count]
    slope, base = _fit(peaks)
    return slope * count + base


def compiled(bench: Bench) -> Iterator[Result]:
    """Compile the network; compare its output and its speed with the plain one's."""
    name = "torch.compile"
    backbone, side, count = bench.pick((VIT_B, 224, 16), (SMALL, 64, 4))
    plain = prepare(network(spec_of(backbone, side)).eval(), bench.device)
    test, golden = pictures(count, side, bench.device)
    try:
        fast = prepare(network(spec_of(backbone, side)).eval(), bench.device, compile=True)
    except HardStop as stop:
        yield not_checked(name, f"refused as it should be where it cannot work: {stop.message}")
        return

    def run(model) -> torch.Tensor:
        with torch.inference_mode(), float32_scores():
            return together(model, test, golden)

    began = time.perf_counter()
    got = run(fast)
    if bench.cuda:
        torch.cuda.synchronize()
    figures = {
        "first_batch_s": time.perf_counter() - began,
        "relative_error": relative(got, run(plain)),
    }
    work = {"plain": lambda: run(plain), "compiled": lambda: run(fast)}
    took = seconds_of(work, bench.device, rounds=3, runs=bench.pick(3, 1))
    figures["speed_beside_plain"] = took["plain"] / took["compiled"]
    yield judged(name, figures, {"relative_error": COMPILE_LIMIT})
