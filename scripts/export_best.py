"""Export the best model as ONNX and check it on the KPI set."""

import argparse
import time

from deft.core.layout import Run
from deft.run.cli import launch, parser
from deft.run.jobs import registered
from deft.run.stage import hard_stop_recorded, status_line
from deft.run.stage_files import files_of
from deft.settings.options import add_option
from deft.stages.context import Context
from deft.stages.export_best import Files, export_best


def body(args: argparse.Namespace, run: Run) -> None:
    """Write best_model/ of a run whose loop has stopped in good order."""
    began = time.monotonic()
    with (
        hard_stop_recorded(
            run.dir, "preflight", "loop_stop", attempt=args.attempt, job="run_export_best"
        ),
        registered(run.dir, "run", "export"),
    ):
        summary = export_best(
            Context.of(args, run),
            files_of(args, Files),
            device=args.device,
            threads=args.threads,
            int8=args.int8,
            views=args.score_views,
            two_stage=args.score_two_stage,
        )
    print(status_line("run", "export", summary, time.monotonic() - began, "hand-off"))


if __name__ == "__main__":
    options = parser(__doc__, phase=False, files=Files)
    for name in ("device", "int8", "score_views", "score_two_stage"):
        add_option(options, name)
    options.add_argument("--threads", type=int, default=1, help="CPU threads")
    launch(options.parse_args(), body)
