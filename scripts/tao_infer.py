"""Score the KPI set with both weight files of a phase in TAO's container."""

from deft.cli import launch, parser
from deft.stage import run_stage
from deft.steps.context import Context
from deft.tao.infer import infer_phase


def body(args, run):
    """Infer as one logged stage."""
    run_stage(
        run.dir,
        args.phase,
        "inference",
        lambda: infer_phase(Context(run), args.phase),
        attempt=args.attempt,
        next_stage="evaluate",
        max_iterations=args.max_iterations,
    )


if __name__ == "__main__":
    launch(parser(__doc__).parse_args(), body)
