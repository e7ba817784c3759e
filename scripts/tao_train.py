"""Train a phase in TAO's container, or take pre-seeded baseline weights."""

import argparse

from deft.core.layout import Run
from deft.run.cli import flag, launch, parser
from deft.run.stage import run_stage
from deft.run.stage_files import files_of
from deft.stages.context import Context
from deft.stages.tao_train import tao_train
from deft.stages.train import Files


def body(args: argparse.Namespace, run: Run) -> None:
    """Train as one logged stage."""
    run_stage(
        run.dir,
        args.phase,
        "train",
        lambda: tao_train(
            Context.of(args, run), files_of(args, Files), args.phase, epochs=args.epochs
        ),
        attempt=args.attempt,
        next_stage="inference",
        max_iterations=args.max_iterations,
    )


if __name__ == "__main__":
    options = parser(__doc__, files=Files)
    options.add_argument("--epochs", type=int, default=0, help="0 = the spec's")
    options.add_argument("--random-weights", type=flag, default=False, help="of the backbone")
    launch(options.parse_args(), body)
