"""Measure the parts of the KPI set and of the base training table, without any model."""

import argparse

from deft.core.layout import Run
from deft.run.cli import launch, parser
from deft.run.stage import hard_stop_recorded
from deft.run.stage_files import files_of
from deft.stages.context import Context
from deft.stages.measure_parts import Files, measure_parts


def body(args: argparse.Namespace, run: Run) -> None:
    """Measure; the contract's log has no line for it, only for its failure."""
    with hard_stop_recorded(
        run.dir, "preflight", "preflight", attempt=args.attempt, job="measure_parts"
    ):
        print(measure_parts(Context.of(args, run), files_of(args, Files)), flush=True)


if __name__ == "__main__":
    launch(parser(__doc__, phase=False, files=Files).parse_args(), body)
