"""Open the sealed acceptance set for a hand-off and judge its promotion."""

import argparse
import time

from deft.core.layout import Run
from deft.run.cli import launch, parser
from deft.run.jobs import registered
from deft.run.stage import hard_stop_recorded, status_line
from deft.run.stage_files import files_of
from deft.settings.kpi_target import parse_kpi
from deft.settings.options import add_option
from deft.stages.accept import Files, accept
from deft.stages.context import Context


def body(args: argparse.Namespace, run: Run) -> None:
    """Judge the hand-off of a run whose loop has stopped in good order."""
    began = time.monotonic()
    with (
        hard_stop_recorded(
            run.dir, "preflight", "loop_stop", attempt=args.attempt, job="run_accept"
        ),
        registered(run.dir, "run", "accept"),
    ):
        summary = accept(
            Context.of(args, run),
            files_of(args, Files),
            parse_kpi(args.kpi),
            champion=args.champion or None,
            champion_spec=args.champion_spec or None,
            margin_pct=args.promotion_margin_pct,
            device=args.device,
            threads=args.threads,
        )
    print(status_line("run", "accept", summary, time.monotonic() - began, "hand-off"))


if __name__ == "__main__":
    options = parser(__doc__, phase=False, files=Files)
    for name in ("kpi", "champion", "champion_spec", "promotion_margin_pct", "device"):
        add_option(options, name)
    options.add_argument("--threads", type=int, default=1, help="CPU threads")
    launch(options.parse_args(), body)
