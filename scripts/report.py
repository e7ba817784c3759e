"""Render the HTML report of a run from its files (and, with --phase, that phase's own page)."""

import argparse
import sys

from deft.core.layout import Run
from deft.record.artifacts import record_knowledge
from deft.record.summaries import write_summary
from deft.report import render_pages
from deft.run.cli import launch, parser


def body(args: argparse.Namespace, run: Run) -> int:
    """Render, check every number against its key, say where the report lies."""
    pages, problems = render_pages(run.dir, args.workspace, args.phase)
    if args.phase:
        write_summary(run.dir, args.phase)
        record_knowledge(run.dir, args.workspace)
    for problem in problems:
        print(f"report check: {problem}", file=sys.stderr)
    for page in pages:
        print(f"report: {page}")
    return 1 if problems else 0


if __name__ == "__main__":
    options = parser(__doc__, phase=False)
    options.add_argument("--phase", help="also write this phase's page and summary, e.g. iter1")
    args = options.parse_args()
    launch(args, body, brief=bool(args.phase))
