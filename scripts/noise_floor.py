"""Measure the noise floor: the base table trained again with other seeds."""

import argparse
import time

from deft.core.layout import Run
from deft.run.cli import launch
from deft.run.jobs import registered
from deft.run.stage import hard_stop_recorded, status_line
from deft.run.stage_files import files_of
from deft.settings.options import add_option
from deft.stages.context import Context
from deft.stages.noise_floor import Files, measure_noise
from train import training_options, training_parser


def body(args: argparse.Namespace, run: Run) -> None:
    """Measure it; it has no line in the loop log."""
    began = time.monotonic()
    with (
        hard_stop_recorded(run.dir, "baseline", "train", attempt=args.attempt, job="run_noise"),
        registered(run.dir, "run", "noise_floor"),
    ):
        summary = measure_noise(
            Context.of(args, run),
            files_of(args, Files),
            trainings=args.noise_trainings,
            epochs=args.epochs,
            options=training_options(args),
            min_recall=args.kpi_recall,
        )
    print(status_line("run", "noise_floor", summary, time.monotonic() - began))


if __name__ == "__main__":
    parser = training_parser(__doc__, files=Files, phase=False)
    add_option(parser, "noise_trainings", required=True)
    parser.add_argument("--kpi-recall", type=float, default=1.0, help="required, 0 to 1")
    launch(parser.parse_args(), body)
