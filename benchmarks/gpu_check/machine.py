"""The machine: what it is, its ceilings, whose turn a card is, and what the doctor says of it."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import torch
from changenet_speed import PEAKS

from deft.core.hardware import cpus, gpus
from deft.run.leases import visible
from deft.settings.environments import table
from gpu_check.bench import Bench
from gpu_check.result import FAILED, OK, Result, failed, judged, not_checked
from gpu_check.timing import seconds_of

DOCTOR = Path(__file__).resolve().parents[2] / "scripts" / "doctor.py"
HOLD = (
    "import sys, time; from deft.run.leases import LEASES;"
    "LEASES.begin(sys.argv[1]); LEASES.take(1); print('held', flush=True); time.sleep(60)"
)
LEAST_SHARE = 0.5  # of the maker's figure, below which the card is not what it should be


def facts(bench: Bench) -> Iterator[Result]:
    """Say what the machine is; measure its copy and product rates."""
    found = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda_build": torch.version.cuda or "none",
        "cpu_cores": cpus(),
    }
    missing, versions = [], {}
    for package in table().packages:
        names = package.builds
        version = next((v for name in names if (v := _version(name))), None)
        if version is None:
            missing.append(package.name)
        else:
            versions[package.name] = version
    found["packages"] = versions
    found["missing_packages"] = ", ".join(missing) or "none"
    broken = ""
    if bench.cuda:
        if not torch.cuda.is_available():
            yield failed("machine", "torch sees no CUDA device", **found)
            return
        properties = torch.cuda.get_device_properties(bench.device)
        found |= {
            "card": properties.name,
            "memory_gib": round(properties.total_memory / 2**30, 1),
            "multiprocessors": properties.multi_processor_count,
            "capability": f"{properties.major}.{properties.minor}",
            "cudnn": torch.backends.cudnn.version(),
            "driver": _driver(),
            "cards_by_nvml": len(gpus()),
        }
        if not gpus():
            broken = "NVML lists no card, so pre-flight and leases see none"
    yield judged("machine", found, broken=broken)
    yield _ceilings(bench)


def _ceilings(bench: Bench) -> Result:
    side, size = bench.pick(8192, 512), bench.pick(2**30, 2**24)
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    work = {}
    for name, dtype in dtypes.items():
        left, right = torch.randn(2, side, side, device=bench.device).to(dtype)
        work[name] = lambda left=left, right=right: left @ right
    source = torch.randn(size, device=bench.device)
    target = torch.empty_like(source)
    work["copy"] = lambda: target.copy_(source)
    torch.backends.cuda.matmul.allow_tf32 = False
    took = seconds_of(work, bench.device, rounds=3, runs=bench.pick(5, 1))
    figures = {f"{name}_tflops": 2 * side**3 / took[name] / 1e12 for name in dtypes}
    figures["copy_gb_s"] = 2 * 4 * size / took["copy"] / 1e9
    peaks = peaks_of(bench)
    if peaks is None:
        return Result("ceilings", OK, figures)
    figures["bfloat16_share_of_data_sheet"] = figures["bfloat16_tflops"] / peaks[1]
    return judged("ceilings", figures, at_least={"bfloat16_share_of_data_sheet": LEAST_SHARE})


def peaks_of(bench: Bench) -> tuple[float, float] | None:
    """Return the card's TFLOP/s in float32 and bfloat16 by its data sheet, if it is known."""
    if not bench.cuda:
        return None
    name = torch.cuda.get_device_name(bench.device)
    return next((peaks for part, peaks in PEAKS.items() if part in name), None)


def leases(bench: Bench) -> Iterator[Result]:
    """Have two processes want the same card: one holds it, the other gets it when that dies."""
    cards = visible()
    if not cards:
        yield not_checked("leases", "no card to take: leases do nothing without a GPU")
        return
    environment = {k: v for k, v in os.environ.items() if k not in ("DEFT_GPUS_LEASED",)}
    wanted = len(cards)
    code = HOLD.replace("LEASES.take(1)", f"LEASES.take({wanted})")
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    line = [sys.executable, "-c", code]
    first = _started([*line, "first"], environment)
    held = first.stdout.readline().strip()
    second = _started([*line, "second"], environment)
    told = second.stdout.readline().strip()
    began = time.monotonic()
    first.send_signal(signal.SIGKILL)
    first.wait()
    got = second.stdout.readline().strip()
    waited = time.monotonic() - began
    second.kill()
    second.wait()
    figures = {"cards": len(cards), "taken_over_s": round(waited, 2), "said": told}
    right = held == "held" and told.startswith("waiting for") and got == "held"
    yield judged("leases", figures, broken="" if right else f"said {held!r}, {told!r}, {got!r}")


def _started(line: list[str], environment: dict[str, str]) -> subprocess.Popen:
    return subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, text=True)


def doctor(bench: Bench) -> Iterator[Result]:
    """Run the project's own look at the machine; what it says of GPU and CUDA must be good."""
    report = bench.own / "doctor.json"
    device = "cuda" if bench.cuda else "cpu"
    line = [sys.executable, str(DOCTOR), "--workspace", str(bench.workspace())]
    line += ["--device", device, "--json", str(report)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr[-4000:])
    if not report.is_file():
        yield failed("doctor", f"it wrote no report (status {done.returncode})")
        return
    rows = json.loads(report.read_text(encoding="utf-8"))["findings"]
    states = {row["what"]: row["state"] for row in rows}
    mine = ("GPUs", "CUDA", "torch pair", "shared memory", "file locks")
    wrong = [
        f"{what} {states.get(what, 'is not there')}" for what in mine if states.get(what) != "ok"
    ]
    figures = {
        "rows": len(rows),
        "broken": ", ".join(w for w, s in states.items() if s == "BROKEN") or "none",
        "to_look_at": ", ".join(w for w, s in states.items() if s == "warn") or "none",
        **{row["what"].replace(" ", "_"): row["found"] for row in rows if row["what"] in mine[:2]},
    }
    yield Result("doctor", FAILED if wrong else OK, figures, {}, "; ".join(wrong))


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _driver() -> str:
    from deft.doctor.measure import driver_version

    return driver_version() or "unknown"
