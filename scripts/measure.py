"""Measure a phase by the user's metric contract."""

import argparse
import json

from deft.core.layout import Run
from deft.run.cli import launch, parser
from deft.run.stage import run_stage
from deft.run.stage_files import files_of
from deft.settings.metric_contract import parse_contract
from deft.settings.options import add_option
from deft.stages.context import Context
from deft.stages.measure import Files, measure


def body(args: argparse.Namespace, run: Run) -> None:
    """Measure as one logged stage; in the log it is a part of the evaluation."""
    run_stage(
        run.dir,
        args.phase,
        "evaluate",
        lambda: measure(
            Context.of(args, run),
            files_of(args, Files),
            args.phase,
            parse_contract(args.contract),
            args.metric_timeout_s,
        ),
        next_stage="decide",
        max_iterations=args.max_iterations,
    )


if __name__ == "__main__":
    options = parser(__doc__, files=Files)
    options.add_argument("--contract", type=json.loads, required=True, help="JSON: metric_contract")
    add_option(options, "metric_timeout_s")
    launch(options.parse_args(), body)
