"""Train a phase natively, or take pre-seeded baseline weights."""

from deft.cli import flag, launch, parser
from deft.stage import run_stage
from deft.steps.context import Context
from deft.steps.train import train_phase


def body(args, run):
    """Train as one logged stage."""
    run_stage(
        run.dir,
        args.phase,
        "train",
        lambda: train_phase(
            Context(run),
            args.phase,
            epochs=args.epochs,
            seed=args.seed,
            device=args.device,
            threads=args.threads,
            upstream_compat=args.upstream_compat,
        ),
        attempt=args.attempt,
        next_stage="inference",
        max_iterations=args.max_iterations,
    )


def training_parser(description):
    """Return the options that train and restore_weights share."""
    options = parser(description)
    options.add_argument("--epochs", type=int, default=0, help="0 = the spec's")
    options.add_argument("--seed", type=int, default=0, help="of order, augmentation, weights")
    options.add_argument("--device", default="auto", help="auto, cpu or cuda")
    options.add_argument("--threads", type=int, default=1, help="CPU threads")
    options.add_argument("--upstream-compat", type=flag, default=False, help="TAO's own loss")
    return options


if __name__ == "__main__":
    launch(training_parser(__doc__).parse_args(), body)
