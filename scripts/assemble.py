"""Assemble the training table of a lap."""

import argparse

from deft.core.layout import Run
from deft.run.cli import launch, parser
from deft.run.stage import hard_stop_recorded
from deft.run.stage_files import files_of
from deft.stages.assemble import Files, assemble
from deft.stages.context import Context


def body(args: argparse.Namespace, run: Run) -> None:
    """Assemble; the stage's log line comes with the validation."""
    with hard_stop_recorded(run.dir, args.phase, "data_merge"):
        print(assemble(Context.of(args, run), files_of(args, Files), args.phase), flush=True)


if __name__ == "__main__":
    launch(parser(__doc__, files=Files).parse_args(), body)
