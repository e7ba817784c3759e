"""Does mining beat chance? The loop on DeepPCB with each arm, per seed: FAR per phase and time.

    python benchmarks/mining_arms.py --root DIR --out /tmp/arms --seeds 0 1 2 --arms nearest random

Each (seed, arm) gets a workspace of its own and the same settings; `random` takes as many new parts
per lap as the nearest neighbours would have added. Prints a Markdown table; finished runs are kept
and only read again. `--weights latest` shows the figures of `strategy_trials.py`, which trains the
same in less time; there `nearest` is filled up to equal rows from lap 2 on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
LEVELS_PCT = ("100", "99", "95")
SETTINGS = ["top_k_per_label=15", "training_epochs=20"]


def snakemake(workspace: Path, *arguments: str, cores: int) -> None:
    """Run Snakemake on a workspace; its output goes to a log beside it."""
    command = [sys.executable, "-m", "snakemake", "-s", str(HOME / "Snakefile")]
    command += ["--cores", str(cores), *arguments]
    with workspace.with_suffix(".log").open("a", encoding="utf-8") as log:
        subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT, cwd=HOME)


def run_arm(workspace: Path, seed: int, arm: str, given: argparse.Namespace) -> Path:
    """Import DeepPCB and run the loop; return the run's folder."""
    run_dir = workspace / "results" / f"run_{arm}"
    if (run_dir / "best_model.json").exists():
        return run_dir
    workspace.mkdir(parents=True, exist_ok=True)
    settings = workspace.with_suffix(".yaml")
    settings.write_text(json.dumps({"deeppcb": {"root": str(given.root)}}), encoding="utf-8")
    common = ["--configfile", str(settings), "--config", f"workspace={workspace}", f"seed={seed}"]
    snakemake(workspace, "import_deeppcb", *common, cores=given.cores)
    began = time.monotonic()
    loop = [f"run=run_{arm}", f"mining={arm}", "approve=true", "encoder=changenet", "device=cpu"]
    loop += [f"kpi={given.kpi}", f"max_iterations={given.laps}", *given.set]
    snakemake(workspace, *common, *loop, cores=given.cores)
    seconds = time.monotonic() - began
    (run_dir / "benchmarks" / "wall_s.json").write_text(json.dumps(round(seconds, 1)))
    return run_dir


def rows_of(run_dir: Path, weights: str) -> list[dict[str, object]]:
    """Return per phase: training rows and FAR at three recalls, of the chosen or named weights."""
    out = []
    for path in sorted(run_dir.glob("*/metrics.json")):
        metrics = json.loads(path.read_text())
        chosen = metrics["kinds"][metrics["chosen"] if weights == "chosen" else weights]
        row = {"phase": metrics["phase"]}
        row |= {p: chosen["far_at_recall"][p]["far_pct"] for p in LEVELS_PCT}
        row["rows"] = json.loads((path.parent / "train" / "weights.json").read_text())["rows"]
        out.append(row)
    return out


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder that holds PCBData/")
    parser.add_argument("--out", type=Path, required=True, help="where the workspaces go")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=["nearest", "random"])
    parser.add_argument("--laps", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument(
        "--weights",
        choices=["chosen", "latest", "best_val"],
        default="chosen",
        help="whose FAR is shown; latest = as strategy_trials.py scores",
    )
    parser.add_argument("--kpi", default="FAR < 0.01% at recall=100%", help="so that all laps run")
    parser.add_argument("--set", nargs="*", default=SETTINGS, metavar="KEY=VALUE")
    given = parser.parse_args()
    print("| seed | arm | phase | training rows | FAR at recall 100 % | 99 % | 95 % | minutes |")
    print("|---|---|---|---|---|---|---|---|")
    for seed in given.seeds:
        for arm in given.arms:
            run_dir = run_arm(given.out / f"seed{seed}_{arm}", seed, arm, given)
            minutes = json.loads((run_dir / "benchmarks" / "wall_s.json").read_text()) / 60
            for row in rows_of(run_dir, given.weights):
                far = " | ".join(f"{row[p]:.2f} %" for p in LEVELS_PCT)
                print(
                    f"| {seed} | {arm} | {row['phase']} | {row['rows']} | {far} | {minutes:.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
