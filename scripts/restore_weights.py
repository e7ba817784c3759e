"""Put back a deleted weight file by repeating its training, if that gives the same bytes."""

import argparse
from pathlib import Path

from deft.core.layout import Run
from deft.run.cli import launch
from deft.run.stage_files import files_of
from deft.stages.context import Context
from deft.stages.restore_weights import restore_weights
from deft.stages.train import Files
from train import training_options, training_parser


def body(args: argparse.Namespace, run: Run) -> None:
    """Restore one file."""
    summary = restore_weights(
        Context.of(args, run),
        files_of(args, Files),
        args.restore,
        args.phase,
        epochs=args.epochs,
        options=training_options(args),
    )
    print(summary, flush=True)


if __name__ == "__main__":
    options = training_parser(__doc__)
    options.add_argument("--restore", type=Path, required=True, help="the deleted file")
    launch(options.parse_args(), body, brief=False)
