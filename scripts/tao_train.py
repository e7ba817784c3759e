"""Train a phase in TAO's container, or take pre-seeded baseline weights."""

from deft.run.cli import launch, parser
from deft.run.stage import run_stage
from deft.stages.context import Context
from deft.stages.tao_train import train_phase


def body(args, run):
    """Train as one logged stage."""
    run_stage(
        run.dir,
        args.phase,
        "train",
        lambda: train_phase(Context(run), args.phase, epochs=args.epochs),
        attempt=args.attempt,
        next_stage="inference",
        max_iterations=args.max_iterations,
    )


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--epochs", type=int, default=0, help="0 = the spec's")
    launch(options.parse_args(), body)
