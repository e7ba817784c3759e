"""A lap of the whole loop on the device, by Snakemake, on the drawn workspace."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from gpu_check.bench import Bench
from gpu_check.result import Result, failed, judged, not_checked

HOME = Path(__file__).resolve().parents[2]
NAMES = ("demo lap", "pre-flight of the lap")


def lap(bench: Bench) -> Iterator[Result]:
    """Run baseline and one lap to the report; read what its pre-flight said of the card."""
    if importlib.util.find_spec("snakemake") is None:
        for name in NAMES:
            yield not_checked(name, "snakemake is not there")
        return
    workspace = bench.own / "workspace"
    shutil.copytree(bench.workspace(), workspace)
    device = "cuda" if bench.cuda else "cpu"
    line = [sys.executable, "-m", "snakemake", "--snakefile", str(HOME / "Snakefile")]
    line += ["--cores", str(bench.threads), "--configfile", str(HOME / "config/demo.yaml")]
    line += ["--config", f"workspace={workspace}", f"device={device}", "max_iterations=1"]
    line += [f"training_epochs={bench.pick(10, 2)}", "run=run_gpu"]
    began = time.perf_counter()
    # What it says goes to this check's words, so that it is known where a lap that is ended was.
    done = subprocess.run(
        line, cwd=bench.own, env=_environment(bench.own), stderr=subprocess.STDOUT, check=False
    )
    took = time.perf_counter() - began
    results = workspace / "results" / "run_gpu"
    report = results / "DEFT_Loop_Report.html"
    if done.returncode or not report.is_file():
        yield failed(
            NAMES[0],
            _reason(bench.own / "words.txt"),
            status=done.returncode,
            seconds=took,
        )
    else:
        figures = {"seconds": took, **_stage_seconds(results)}
        yield judged(NAMES[0], figures)
    yield _preflight(bench, results)


def _environment(folder: Path) -> dict[str, str]:
    """Return the environment with a ``python`` on the path that is this one, packages and all."""
    tools = folder / "bin"
    tools.mkdir(exist_ok=True)
    for name in ("python", "python3"):
        script = tools / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
        script.chmod(0o755)
    path = os.pathsep.join([str(tools), os.environ.get("PATH", "")])
    return os.environ | {"PATH": path, "NO_COLOR": "1"}


def _stage_seconds(results: Path) -> dict[str, float]:
    """Return the seconds of each job, from the workflow's own measurements."""
    found = {}
    for path in sorted(results.rglob("benchmarks/*.tsv")):
        lines = path.read_text(encoding="utf-8").splitlines()
        if len(lines) > 1:
            found[f"{path.stem}_s"] = float(lines[1].split("\t")[0])
    return found


def _preflight(bench: Bench, results: Path) -> Result:
    """Read what pre-flight said of the card, and of the batch size where there is one."""
    name, path = NAMES[1], results / "preflight" / "checks.json"
    if not path.is_file():
        return failed(name, "pre-flight wrote no checks")
    rows = {row["id"]: row for row in json.loads(path.read_text(encoding="utf-8"))["checks"]}
    wanted = bench.pick(("gpu", "batch_size"), ("gpu",))
    wrong = [key for key in wanted if rows.get(key, {}).get("status") != "ok"]
    figures = {key: rows[key]["evidence"] for key in wanted if key in rows}
    figures |= {"packages": rows["packages"]["evidence"]} if "packages" in rows else {}
    return judged(name, figures, broken=f"not ok: {', '.join(wrong)}" if wrong else "")


def _reason(path: Path) -> str:
    words = path.read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    stops = [line for line in lines if line.startswith(("HARD STOP", "Error", "error"))]
    return " / ".join((stops or lines)[-3:])[-400:]
