"""What a SLURM job and a lap cost beside the work itself, against the local executor.

Runs the same tiny loop on the local executor and through the shipped slurm profile, on a cluster of
this machine alone (tests/slurm/cluster.py, which needs root), and prints medians. The work differs
between runs on a busy machine; the overhead of a job is taken from the same job: from its line in
Snakemake's log to its end, less what the command itself took.

    python benchmarks/slurm_overhead.py [--init 5 2 40] [--laps 2] [--out FILE]
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests/support"), str(ROOT / "tests/slurm")]

from cluster import Cluster  # noqa: E402
from guard import Refused  # noqa: E402
from slurm_tools import HEAVY  # noqa: E402
from tiny_workspace import make_tiny_workspace  # noqa: E402
from workflow_tools import CONFIG, RUN, clean_environment, log_entries  # noqa: E402

MESSAGES = {  # a job's message in Snakemake's log -> its file under benchmarks/
    r"(\w+): train": "{0}_train",
    r"(\w+): inference of both weight files": "{0}_infer",
    r"(\w+): mine the pool .*": "{0}_mine",
    r"embed the source pool, shard (\S+)": "embed_{0}",
}
HEAD = re.compile(r"^\[(.+)\]\n(?:localrule|rule|Job) ?(\d+): (.+)$", re.MULTILINE)
END = re.compile(r"^\[(.+)\]\nFinished jobid: (\d+) ", re.MULTILINE)
TIMEOUT_S = 3600


def shipped_profile(folder: Path, init_s: int) -> Path:
    """Write the shipped slurm profile with the memory of this cluster and return its folder."""
    profile = yaml.safe_load((ROOT / "profiles/slurm/profile.yaml").read_text())
    profile["default-resources"]["slurm_partition"] = "gpu"
    profile["set-resources"] = {rule: {"mem_mb": 3000, "runtime": 30} for rule in HEAVY}
    profile["max-threads"] = 1
    profile["slurm-init-seconds-before-status-checks"] = init_s
    folder.mkdir()
    (folder / "profile.yaml").write_text(yaml.safe_dump(profile))
    return folder


def run_loop(folder: Path, laps: int, profile: Path) -> tuple[float, Path]:
    """Run one loop in a new workspace; returns its seconds and the workspace."""
    workspace = make_tiny_workspace(folder / "workspace", pool=60)
    config = {**CONFIG, "workspace": workspace, "max_iterations": laps, "device": "auto"}
    command = [sys.executable, "-m", "snakemake", "-s", ROOT / "Snakefile"]
    command += ["--workflow-profile", profile, "--max-threads", "1"]
    command += ["--config", *(f"{k}={v}" for k, v in config.items())]
    started = time.monotonic()
    with (folder / "output.txt").open("w") as output:
        subprocess.run(
            list(map(str, command)),
            cwd=folder,
            env=clean_environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
            check=True,
        )
    return time.monotonic() - started, workspace


def job_overheads(folder: Path, workspace: Path) -> list[float]:
    """Return, for each job whose own time is known, the seconds beside it."""
    (log,) = (folder / ".snakemake/log").glob("*.log")
    text = log.read_text()
    ended = {number: _time(at) for at, number in END.findall(text)}
    out = []
    for at, number, message in HEAD.findall(text):
        name = _benchmark_name(message)
        if name and number in ended:
            file = workspace / "results" / RUN / "benchmarks" / f"{name}.tsv"
            with file.open() as handle:
                work = float(next(csv.DictReader(handle, delimiter="\t"))["s"])
            out.append(max(0.0, ended[number] - _time(at) - work))
    return out


def lap_seconds(workspace: Path) -> list[float]:
    """Return the seconds of each lap, from one evaluation to the next."""
    ends = [e["ts"] for e in log_entries(workspace) if e["stage"] == "evaluate"]
    times = [datetime.fromisoformat(ts.replace("Z", "+00:00")).timestamp() for ts in ends]
    return [after - before for before, after in zip(times, times[1:], strict=False)]


def _time(text: str) -> float:
    return datetime.strptime(text, "%a %b %d %H:%M:%S %Y").timestamp()


def _benchmark_name(message: str) -> str | None:
    for pattern, name in MESSAGES.items():
        if match := re.fullmatch(pattern, message):
            return name.format(*match.groups())
    return None


def measure(name: str, laps: int, profile: Path) -> dict[str, object]:
    """Run one loop and return what it cost."""
    with tempfile.TemporaryDirectory(prefix="deft_overhead_") as folder:
        total_s, workspace = run_loop(Path(folder), laps, profile)
        jobs, lap_s = job_overheads(Path(folder), workspace), lap_seconds(workspace)
    row = {
        "executor": name,
        "total_s": round(total_s, 1),
        "lap_s": round(statistics.median(lap_s), 1),
        "job_overhead_s": round(statistics.median(jobs), 1),
        "job_overhead_max_s": round(max(jobs), 1),
        "jobs_measured": len(jobs),
    }
    print(json.dumps(row), flush=True)
    return row


def main() -> None:
    """Measure the local executor, then the profile with each initial wait."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--init", type=int, nargs="+", default=[5], help="initial waits, s")
    options.add_argument("--laps", type=int, default=2)
    options.add_argument("--out", type=Path)
    args = options.parse_args()
    try:
        cluster = Cluster.start()
    except Refused as error:
        sys.exit(f"refused: {error}")
    try:
        rows = [measure("local", args.laps, ROOT / "profiles/default")]
        with tempfile.TemporaryDirectory(prefix="deft_profile_") as folder:
            for init_s in args.init:
                profile = shipped_profile(Path(folder) / str(init_s), init_s)
                rows.append(measure(f"slurm, initial wait {init_s} s", args.laps, profile))
    finally:
        cluster.stop()
    for row in rows[1:]:
        row["lap_ratio"] = round(row["lap_s"] / rows[0]["lap_s"], 2)
        row["lap_more_s"] = round(row["lap_s"] - rows[0]["lap_s"], 1)
        print(json.dumps(row))
    if args.out:
        args.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
