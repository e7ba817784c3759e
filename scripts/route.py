"""Route the gaps of the previous phase to mining and AnomalyGen."""

import argparse

from deft.core.layout import Run
from deft.run.cli import launch, parser
from deft.run.stage import run_stage
from deft.run.stage_files import files_of
from deft.settings.options import add_option
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
    add_option(options, "routing", "--mode")
    for name in ("anomalygen_labels", "allow_unrouted"):
        add_option(options, name, default=[])
    launch(options.parse_args(), body)
