"""A training that SIGTERM ends in the middle of an epoch, and the one nobody disturbed.

On a CPU both must end in the same bits. A GPU adds up in an order of its own, so two undisturbed
trainings may differ already: the resumed one must not differ more than ten times as much. With
torch's deterministic algorithms the same bits are asked for on a GPU too, where two undisturbed
trainings end in the same; an operator that has no such form is named.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch

from deft.changenet.training.options import Options
from deft.changenet.training.resume import STATE_FILE
from deft.changenet.training.trainer import _Mixed
from deft.changenet.weights import read_state
from gpu_check.bench import Bench, relative
from gpu_check.result import Result, failed, judged, not_checked
from gpu_check.train_child import run
from gpu_check.training import write_job

SPREAD_FACTOR, SPREAD_FLOOR = 10.0, 1e-4
WAIT_S = 60.0
CUBLAS = "CUBLAS_WORKSPACE_CONFIG"  # cuBLAS gives equal bits only with a workspace of its own


def resume(bench: Bench) -> Iterator[Result]:
    """Kill and resume a training: as shipped, with deterministic algorithms, in float16."""
    os.environ[CUBLAS] = ":4096:8"
    yield _killed(bench, "resume", "32-true", exact=False)
    if not bench.cuda:
        yield not_checked("resume exact", "on a CPU the row above asks for equal bits already")
        yield not_checked("resume fp16", "float16 needs a CUDA device")
        return
    yield _killed(bench, "resume exact", "32-true", exact=True)
    yield _killed(bench, "resume fp16", "16-mixed", exact=False)


def _killed(bench: Bench, name: str, precision: str, *, exact: bool) -> Result:
    def job(which: str) -> dict:
        folder = bench.own / f"{name} {which}".replace(" ", "_")
        folder.mkdir(parents=True, exist_ok=True)
        spec = bench.spec(bench.pick(32, 8), precision=precision, num_epochs=3)
        draws = bench.pick(1536, 128)
        options = Options(device=bench.name, seed=1, threads=bench.threads, draws_per_epoch=draws)
        return {
            "spec": spec.to_dict(),
            "source": None,
            "workspace": str(bench.workspace()),
            "out": str(folder / "out"),
            "resume": str(folder / "resume"),
            "options": asdict(options),
            "deterministic": exact,
        }

    restore = torch.use_deterministic_algorithms
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            weights, took = [], []
            for which in ("undisturbed", "undisturbed again"):
                began = time.monotonic()
                given = job(which)
                weights.append(_weights(given, run(given)))
                took.append(time.monotonic() - began)
        finally:
            torch.use_deterministic_algorithms = restore
    spread = relative(weights[1], weights[0])
    given = job("killed")
    facts, broken = _interrupt_and_go_on(bench, given, epoch_s=min(took) / 3)
    if broken:
        return failed(name, broken, **facts)
    latest = json.loads((Path(given["out"]) / "weights.json").read_text(encoding="utf-8"))
    apart = relative(_weights(given, latest), weights[0])
    lacking = sorted({_operator(str(w.message)) for w in told if "deterministic" in str(w.message)})
    figures = {
        "weights_relative_difference": apart,
        "two_undisturbed_differ_by": spread,
        **facts,
    }
    if exact:
        figures["no_deterministic_form"] = ", ".join(lacking) or "none"
    strict = not bench.cuda or (exact and spread == 0 and not lacking)
    limit = 0.0 if strict else max(SPREAD_FACTOR * spread, SPREAD_FLOOR)
    if precision == "16-mixed" and not facts.get("scale_in_state", 0) > 0:
        broken = "the saved state has no loss scale"
    return judged(name, figures, {"weights_relative_difference": limit}, broken=broken)


def _weights(job: dict, result: dict) -> list[torch.Tensor]:
    state = read_state(Path(job["out"]) / result["latest"])["state_dict"]
    return [value for _, value in sorted(state.items()) if value.is_floating_point()]


def _interrupt_and_go_on(bench: Bench, job: dict, epoch_s: float) -> tuple[dict, str]:
    """Train in a process, send it SIGTERM in its second epoch, then train again to the end."""
    path = write_job(bench.own / "job.json", **job)
    line = [sys.executable, "-m", "gpu_check.train_child", str(path)]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    said = []
    for text in process.stdout:
        said.append(text.strip())
        if text.startswith("epoch 1/"):
            time.sleep(0.25 * epoch_s)
            process.send_signal(signal.SIGTERM)
            break
    said += [text.strip() for text in process.stdout]
    status = process.wait(WAIT_S)
    state = Path(job["resume"]) / STATE_FILE
    facts: dict = {"status_after_sigterm": status, "stopped": said[-1][:120] if said else ""}
    if status != 128 + signal.SIGTERM or not state.is_file():
        return facts, f"SIGTERM was not answered by a saved state and 143 (said {said[-2:]})"
    kept = torch.load(state, map_location="cpu", weights_only=True)
    facts["in_the_middle_of_an_epoch"] = kept["within"] is not None
    if scale := loss_scale(kept):
        facts["scale_in_state"] = scale
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    went_on = [text for text in done.stdout.splitlines() if text.startswith("resuming")]
    print(done.stdout, done.stderr[-3000:])
    if done.returncode or not went_on:
        return facts, f"the second start did not go on (status {done.returncode})"
    return facts, ""


def loss_scale(state: dict) -> float | None:
    """Return the loss scale in a saved state; None where the precision needs none."""
    kept = state.get(_Mixed.__qualname__)  # Lightning names a plugin's state by its class
    return float(kept["scale"]) if kept else None


def _operator(message: str) -> str:
    return message.split(" does not have")[0].split()[-1]
