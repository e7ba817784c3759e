"""Validate the training table of a lap before the training is paid for."""

import argparse

from deft.core.layout import Run
from deft.run.cli import launch, parser
from deft.run.stage import run_stage
from deft.run.stage_files import files_of
from deft.stages.context import Context
from deft.stages.validate import Files, validate


def body(args: argparse.Namespace, run: Run) -> None:
    """Validate as the second half of the logged stage data_merge."""
    run_stage(
        run.dir,
        args.phase,
        "data_merge",
        lambda: validate(
            Context.of(args, run), files_of(args, Files), args.phase, args.content_leakage
        ),
        next_stage="train",
        max_iterations=args.max_iterations,
    )


if __name__ == "__main__":
    options = parser(__doc__, files=Files)
    options.add_argument("--content-leakage", choices=("stop", "warn"), default="stop")
    launch(options.parse_args(), body)
