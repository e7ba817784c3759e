"""Train a phase natively, or take pre-seeded baseline weights."""

import argparse

from deft.changenet.training.options import Options
from deft.core.layout import Run
from deft.run.cli import launch, parser
from deft.run.stage import run_stage
from deft.run.stage_files import files_of
from deft.settings.options import add_option
from deft.stages.context import Context
from deft.stages.train import Files, train


def body(args: argparse.Namespace, run: Run) -> None:
    """Train as one logged stage."""
    run_stage(
        run.dir,
        args.phase,
        "train",
        lambda: train(
            Context.of(args, run),
            files_of(args, Files),
            args.phase,
            epochs=args.epochs,
            options=training_options(args),
        ),
        attempt=args.attempt,
        next_stage="inference",
        max_iterations=args.max_iterations,
    )


SETTINGS = (
    *("seed", "device", "upstream_compat", "accumulate_steps", "select_weights_by"),
    *("optimizer_state", "random_weights", "compile"),
)


def training_parser(
    description: str | None, *, files: type = Files, phase: bool = True
) -> argparse.ArgumentParser:
    """Return the options that train, restore_weights and noise_floor share."""
    options = parser(description, files=files, phase=phase)
    options.add_argument("--epochs", type=int, default=0, help="0 = the spec's")
    for name in SETTINGS:
        add_option(options, name)
    options.add_argument("--threads", type=int, default=1, help="CPU threads")
    options.add_argument("--early-stop-epochs", type=int, default=0, help="0 = never")
    options.add_argument("--min-recall", type=float, default=1.0, help="of val_far, 0 to 1")
    return options


def training_options(args: argparse.Namespace) -> Options:
    """Return what the options say of a training."""
    return Options(
        seed=args.seed,
        device=args.device,
        threads=args.threads,
        upstream_compat=args.upstream_compat,
        accumulate_steps=args.accumulate_steps,
        select_weights_by=args.select_weights_by,
        early_stop_epochs=args.early_stop_epochs or None,
        min_recall=args.min_recall,
        optimizer_state=args.optimizer_state,
        compile=args.compile,
        picture_levels=args.picture_levels,
    )


if __name__ == "__main__":
    launch(training_parser(__doc__).parse_args(), body)
