"""Trainings in mixed precision."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from deft.changenet.training.options import Options
from deft.changenet.training.train import train
from deft.core.errors import HardStop
from gpu_check.bench import Bench
from gpu_check.result import Result, failed, judged, not_checked

FIRST_LOSS_LIMIT = 0.1  # share by which the first epoch's loss may differ from float32's


def precisions(bench: Bench) -> Iterator[Result]:
    """Train the same network in float32, bfloat16 and float16 from the same numbers."""
    epochs = bench.pick(20, 3)
    reference = _trained(bench, "32-true", epochs)
    # A CPU without bfloat16 instructions takes five times as long.
    low = _trained(bench, "bf16-mixed", bench.pick(epochs, 2))
    yield _compared("bf16 training", reference, low)
    if bench.cuda:
        yield _compared("fp16 training", reference, _trained(bench, "16-mixed", epochs))
        return
    try:
        _trained(bench, "16-mixed", 1)
    except HardStop as stop:
        why = f"float16 needs a CUDA device; refused here as it should be ({stop.code})"
        yield not_checked("fp16 training", why)
    else:
        yield failed("fp16 training", "float16 on a CPU was not refused")


def _trained(bench: Bench, precision: str, epochs: int) -> dict[str, float]:
    name = precision.replace("-", "_")
    out = bench.own / name
    options = Options(device=bench.name, seed=1, threads=bench.threads)
    spec = bench.spec(precision=precision, num_epochs=epochs)
    folders = {"out_dir": out, "resume_dir": bench.own / f"{name}_resume"}
    if bench.cuda:
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    train(spec, workspace=bench.workspace(), **folders, options=options, log=print)
    took = time.perf_counter() - began
    losses = training_losses(out)
    return {
        "first_loss": losses[0],
        "last_loss": min(losses[-3:]),  # single epochs of a small table are noisy
        "epoch_s": took / epochs,
        "peak_mib": torch.cuda.max_memory_allocated() / 2**20 if bench.cuda else float("nan"),
    }


def training_losses(out: Path) -> list[float]:
    """Return the training loss of each epoch, from the curve that a training writes."""
    import pandas as pd

    return pd.read_csv(out / "train_curve.csv")["train_loss"].tolist()


def _compared(name: str, reference: dict[str, float], found: dict[str, float]) -> Result:
    figures = {
        "first_loss_off_float32": abs(found["first_loss"] / reference["first_loss"] - 1),
        "last_by_first_loss": found["last_loss"] / found["first_loss"],
        "last_loss_float32": reference["last_loss"],
        "last_loss": found["last_loss"],
        "epoch_s_float32": reference["epoch_s"],
        "epoch_s": found["epoch_s"],
    }
    if not math.isnan(found["peak_mib"]):
        figures |= {"peak_mib": found["peak_mib"], "peak_mib_float32": reference["peak_mib"]}
    limits = {"first_loss_off_float32": FIRST_LOSS_LIMIT, "last_by_first_loss": 0.999}
    return judged(name, figures, limits)


def write_job(path: Path, **job: object) -> Path:
    """Write what :mod:`gpu_check.train_child` trains."""
    path.write_text(json.dumps(job), encoding="utf-8")
    return path
