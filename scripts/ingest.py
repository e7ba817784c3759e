"""Record which pre-generated pairs a lap uses, and that they are unchanged."""

import argparse

from deft.core.layout import Run
from deft.run.cli import launch, parser
from deft.run.stage import run_stage
from deft.run.stage_files import files_of
from deft.stages.context import Context
from deft.stages.ingest import Files, ingest


def body(args: argparse.Namespace, run: Run) -> None:
    """Ingest as one logged stage."""
    run_stage(
        run.dir,
        args.phase,
        "anomalygen",
        lambda: ingest(Context.of(args, run), files_of(args, Files), args.phase),
        next_stage="data_mining",
        max_iterations=args.max_iterations,
    )


if __name__ == "__main__":
    launch(parser(__doc__, files=Files).parse_args(), body)
