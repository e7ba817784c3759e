"""Score the KPI set with both weight files of a phase in TAO's container."""

from deft.cli import launch, parser
from deft.stage import run_stage
from deft.steps.context import Context
from deft.tao.infer import infer_phase
from deft.tao.train import forget_training


def body(args, run):
    """Infer as one logged stage."""
    context = Context(run)
    run_stage(
        run.dir,
        args.phase,
        "inference",
        lambda: infer_phase(context, args.phase),
        attempt=args.attempt,
        next_stage="evaluate",
        max_iterations=args.max_iterations,
    )
    forget_training(context, args.phase)


if __name__ == "__main__":
    launch(parser(__doc__).parse_args(), body)
