"""Evaluate the KPI of a phase."""

from deft.cli import launch, parser
from deft.stage import run_stage
from deft.steps.context import Context
from deft.steps.evaluate import evaluate


def body(args, run):
    """Evaluate as one logged stage."""
    run_stage(
        run.dir,
        args.phase,
        "evaluate",
        lambda: evaluate(Context(run), args.phase, args.min_recall),
        next_stage="decide",
        max_iterations=args.max_iterations,
    )


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--min-recall", type=float, required=True, help="0 to 1")
    launch(options.parse_args(), body)
