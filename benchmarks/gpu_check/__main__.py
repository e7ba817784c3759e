"""The command line of ``gpu_check.sh``; the exit status is 1 when a check failed."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from gpu_check.result import as_table
from gpu_check.runner import TABLE_NAME, Runner
from gpu_check.table import BY_NAME, CHECKS

BUDGET_S = 480.0


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(prog="gpu_check.sh", description=__doc__)
    parser.add_argument("--device", default="cuda", help="cuda, or cpu with small sizes")
    parser.add_argument("--out", type=Path, default=Path("gpu_check_results"))
    parser.add_argument("--budget", type=float, help="seconds in all (GPU 480, CPU 960)")
    parser.add_argument("--jobs", type=int, help="checks beside each other (GPU 4, CPU one a core)")
    names = [check.name for check in CHECKS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--skip", nargs="+", choices=names, default=[], metavar="NAME")
    return parser.parse_args(argv)


def _end(*_: object) -> None:
    """End in order: the runner writes what is known, and a second signal must not disturb it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(143)


def main(argv: list[str] | None = None) -> int:
    """Run the checks and print the table."""
    given = parse(argv)
    cores = len(os.sched_getaffinity(0))
    on_cpu = given.device == "cpu"
    jobs = given.jobs or (cores if on_cpu else max(1, min(4, cores // 4)))
    budget = given.budget or BUDGET_S * (2 if on_cpu else 1)
    names = [name for name in (given.only or BY_NAME) if name not in given.skip]
    signal.signal(signal.SIGTERM, _end)
    facts = {"kit": json.loads(os.environ.get("GPU_CHECK_KIT", "{}")), "jobs": jobs}
    scratch = Path(tempfile.mkdtemp(prefix="gpu_check_"))
    try:
        runner = Runner(
            [BY_NAME[name] for name in names],
            given.device,
            given.out.absolute(),
            scratch,
            budget,
            jobs,
            facts=facts,
            asked=given.only is not None,
        )
        status = runner.run()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print("\n" + as_table(runner.found))
    print(f"{given.out.absolute() / TABLE_NAME}")
    return status


if __name__ == "__main__":
    sys.exit(main())
