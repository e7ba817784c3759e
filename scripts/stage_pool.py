"""Stage the source pool: real rows and pre-generated pairs under one table."""

import argparse

from deft.core.layout import Run
from deft.run.cli import launch, parser
from deft.run.stage import hard_stop_recorded
from deft.run.stage_files import files_of
from deft.stages.context import Context
from deft.stages.stage_pool import Files, stage_pool


def body(args: argparse.Namespace, run: Run) -> None:
    """Stage; the contract's log has no line for it, only for its failure."""
    with hard_stop_recorded(run.dir, "preflight", "preflight"):
        files = files_of(args, Files)
        print(stage_pool(Context.of(args, run), files, args.encoder), flush=True)


if __name__ == "__main__":
    options = parser(__doc__, phase=False, files=Files)
    options.add_argument("--encoder", required=True, help="the one that will embed the pool")
    launch(options.parse_args(), body)
