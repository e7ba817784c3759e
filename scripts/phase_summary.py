"""Write the summary of a phase, and the knowledge base as far as the run has come."""

import argparse

from deft.core.layout import Run
from deft.record.artifacts import record_knowledge
from deft.record.summaries import write_summary
from deft.run.cli import launch, parser


def body(args: argparse.Namespace, run: Run) -> None:
    """Write both."""
    print(f"summary: {write_summary(run.dir, args.phase)}")
    record_knowledge(run.dir, args.workspace)


if __name__ == "__main__":
    launch(parser(__doc__).parse_args(), body)
