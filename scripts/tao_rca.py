"""Find the weak samples of a phase with TAO's gap analysis."""

import argparse

from deft.core.layout import Run
from deft.run.cli import launch, parser
from deft.run.stage import run_stage
from deft.run.stage_files import files_of
from deft.settings.options import add_option
from deft.stages.context import Context
from deft.stages.tao_rca import Files, tao_rca


def body(args: argparse.Namespace, run: Run) -> None:
    """Analyse as one logged stage."""
    run_stage(
        run.dir,
        args.phase,
        "rca",
        lambda: tao_rca(
            Context.of(args, run), files_of(args, Files), args.phase, args.min_recall, args.top_k
        ),
        attempt=args.attempt,
        next_stage="routing",
        max_iterations=args.max_iterations,
    )


if __name__ == "__main__":
    options = parser(__doc__, files=Files)
    options.add_argument("--min-recall", type=float, required=True, help="0 to 1")
    add_option(options, "top_k_per_label", "--top-k", required=True)
    launch(options.parse_args(), body)
