"""Score the KPI set with both weight files of a phase in TAO's container."""

import argparse

from deft.core.layout import Run
from deft.run.cli import launch, parser
from deft.run.stage import run_stage
from deft.run.stage_files import files_of
from deft.stages.context import Context
from deft.stages.infer import Files
from deft.stages.tao_infer import tao_infer
from deft.stages.tao_train import forget_training


def body(args: argparse.Namespace, run: Run) -> None:
    """Infer as one logged stage."""
    context = Context.of(args, run)
    run_stage(
        run.dir,
        args.phase,
        "inference",
        lambda: tao_infer(context, files_of(args, Files), args.phase),
        attempt=args.attempt,
        next_stage="evaluate",
        max_iterations=args.max_iterations,
    )
    forget_training(context, args.phase)


if __name__ == "__main__":
    launch(parser(__doc__, files=Files).parse_args(), body)
