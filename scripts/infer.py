"""Score the KPI set with both weight files of a phase."""

import argparse

from deft.core.layout import Run
from deft.run.cli import launch, parser
from deft.run.stage import run_stage
from deft.run.stage_files import files_of
from deft.settings.options import add_option
from deft.stages.context import Context
from deft.stages.infer import Files, infer
from deft.stages.train import forget_state


def body(args: argparse.Namespace, run: Run) -> None:
    """Infer as one logged stage."""
    files = files_of(args, Files)
    run_stage(
        run.dir,
        args.phase,
        "inference",
        lambda: infer(
            Context.of(args, run),
            files,
            args.phase,
            device=args.device,
            threads=args.threads,
            runtime=args.runtime,
            compile=args.compile,
            views=args.score_views,
            share=args.score_views_share,
        ),
        attempt=args.attempt,
        next_stage="evaluate",
        max_iterations=args.max_iterations,
    )
    forget_state(files.weights)


if __name__ == "__main__":
    options = parser(__doc__, files=Files)
    for name in ("device", "runtime", "compile", "score_views", "score_views_share"):
        add_option(options, name)
    options.add_argument("--threads", type=int, default=1, help="CPU threads")
    launch(options.parse_args(), body)
