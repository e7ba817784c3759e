"""Route the gaps of the previous phase to mining and AnomalyGen."""

import argparse
import json

from deft.core.layout import Run
from deft.run.cli import launch, parser
from deft.run.stage import run_stage
from deft.run.stage_files import files_of
from deft.stages.context import Context
from deft.stages.route import Files, route


def body(args: argparse.Namespace, run: Run) -> None:
    """Route as one logged stage."""
    run_stage(
        run.dir,
        args.phase,
        "routing",
        lambda: route(
            Context.of(args, run),
            files_of(args, Files),
            args.phase,
            args.mode,
            args.anomalygen_labels,
            args.allow_unrouted,
        ),
        next_stage="anomalygen",
        max_iterations=args.max_iterations,
    )


if __name__ == "__main__":
    options = parser(__doc__, files=Files)
    options.add_argument("--mode", choices=("pregen", "by_label"), default="pregen")
    options.add_argument("--anomalygen-labels", type=json.loads, default=[], help="JSON list")
    options.add_argument("--allow-unrouted", type=json.loads, default=[], help="JSON list")
    launch(options.parse_args(), body)
