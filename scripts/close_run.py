"""After a failed command: log the stop, mark the state, render the report from what is there."""

import argparse
import sys

from deft.core.layout import Run
from deft.run.cli import launch, parser
from deft.run.stage import take_last_stop
from deft.settings.options import add_option
from deft.stages.close_run import close_run, track_failed


def body(args: argparse.Namespace, run: Run) -> None:
    """Close a failed command; a run that has no state yet is left alone."""
    stop = take_last_stop()
    if not (args.aside or stop.startswith("HARD STOP approval_missing")):
        print(close_run(run), flush=True)
        if args.mlflow_uri:
            print(track_failed(run, args.mlflow_uri, args.mlflow_experiment), flush=True)
    print(f"\n{stop}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    options = parser(__doc__, phase=False)
    options.add_argument("--aside", action="store_true", help="only say the last hard stop again")
    for name in ("mlflow_uri", "mlflow_experiment"):
        add_option(options, name)
    launch(options.parse_args(), body, brief=False)
