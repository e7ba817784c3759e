"""Look at this machine: memory, limits, disks, locks, GPUs, packages, SLURM, containers.

Prints one table. The exit status is 1 when something is broken, else 0.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from deft.core.files import write_json_atomic
from deft.doctor.finding import BROKEN, as_json, as_rows, as_table, worst
from deft.doctor.probes import PROBES, Surroundings
from deft.doctor.runner import examine
from deft.run.cli import open_log
from deft.run.stage import keep_for_the_end, main


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line; under Snakemake the configuration comes by the environment."""
    given = json.loads(os.environ.get("DEFT_CONFIG", "{}"))
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--workspace", default=given.get("workspace", "~/workspace"))
    parser.add_argument("--device", default=given.get("device", "auto"), help="auto, cpu or cuda")
    parser.add_argument("--problem", default="", help="why the configuration was refused")
    parser.add_argument("--cluster", action="store_true", help="jobs go to a SLURM cluster")
    parser.add_argument("--json", metavar="FILE", help="also write JSON; - prints it instead")
    parser.add_argument("--log", type=Path, help="also write everything printed to this file")
    names = [probe.name for probe in PROBES]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    return parser.parse_args(argv)


def tell(text: str) -> None:
    """Print progress where it does not mix with JSON."""
    print(f"  {text}", file=sys.stderr, flush=True)


def body(args: argparse.Namespace) -> int:
    """Run the probes; print and write what they found."""
    around = Surroundings(
        os.path.abspath(os.path.expanduser(args.workspace)), args.device, args.problem, args.cluster
    )
    chosen = [probe for probe in PROBES if probe.name in args.only]
    print(f"{len(chosen)} probes, some seconds each", file=sys.stderr, flush=True)
    found = examine(around, chosen, log=tell)
    if args.json == "-":
        print(json.dumps(as_json(found), indent=2))
    else:
        print(as_table(found), flush=True)
        if args.json:
            write_json_atomic(args.json, as_json(found))
    if worst(found) != BROKEN:
        return 0
    keep_for_the_end(as_rows([finding for finding in found if finding.state == BROKEN]))
    return 1


if __name__ == "__main__":
    args = parse()
    open_log(args.log)
    main(lambda: body(args))
