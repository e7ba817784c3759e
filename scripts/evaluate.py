"""Evaluate the KPI of a phase."""

import argparse

from deft.core.layout import Run
from deft.run.cli import launch, parser
from deft.run.stage import run_stage
from deft.run.stage_files import files_of
from deft.stages.context import Context
from deft.stages.evaluate import Files, evaluate


def body(args: argparse.Namespace, run: Run) -> None:
    """Evaluate as one logged stage."""
    run_stage(
        run.dir,
        args.phase,
        "evaluate",
        lambda: evaluate(Context.of(args, run), files_of(args, Files), args.phase, args.min_recall),
        next_stage="decide",
        max_iterations=args.max_iterations,
    )


if __name__ == "__main__":
    options = parser(__doc__, files=Files)
    options.add_argument("--min-recall", type=float, required=True, help="0 to 1")
    launch(options.parse_args(), body)
