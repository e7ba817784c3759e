"""Log a run to MLflow: parameters, metrics of each phase, tags, report and best model."""

import argparse
from pathlib import Path

from deft.core.errors import HardStop
from deft.core.files import write_json_atomic
from deft.core.layout import Run
from deft.run.cli import launch, parser
from deft.settings.options import add_option
from deft.stages.track import track


def body(args: argparse.Namespace, run: Run) -> None:
    """Bring the run up to date there."""
    print(track(run, args.mlflow_uri, args.mlflow_experiment, args.record))


def of_a_lap(args: argparse.Namespace, run: Run) -> None:
    """The same while the loop goes on: no training is given up because a server is away."""
    try:
        body(args, run)
    except HardStop as stop:
        print(f"warning: {stop.message}; all is logged at the end of the run", flush=True)
        write_json_atomic(args.record, {"schema_version": 1, "not_logged": stop.message})


if __name__ == "__main__":
    options = parser(__doc__, phase=False)
    options.add_argument("--phase", help="a lap of a loop that goes on, e.g. iter1")
    add_option(options, "mlflow_uri", required=True)
    add_option(options, "mlflow_experiment")
    options.add_argument("--record", type=Path, required=True, help="what was logged")
    args = options.parse_args()
    launch(args, of_a_lap if args.phase else body, brief=bool(args.phase))
