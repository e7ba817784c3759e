"""Render the HTML report of a run from its files (and, with --phase, that phase's own page)."""

import argparse
import sys
from html import escape

from deft.core.files import write_text_atomic
from deft.core.layout import Run
from deft.report.render import PHASE_REPORT_FILE, render_pages
from deft.run.cli import launch, parser


def body(args: argparse.Namespace, run: Run) -> int:
    """Render, check every number against its key, say where the report lies."""
    pages, problems = render_pages(run.dir, args.workspace, args.phase)
    for problem in problems:
        print(f"report check: {problem}", file=sys.stderr)
    for page in pages:
        print(f"report: {page}")
    return 1 if problems else 0


def page_of_a_lap(args: argparse.Namespace, run: Run) -> int:
    """Render while the loop goes on: it does not end because a page cannot be made."""
    try:
        body(args, run)
    except Exception as error:
        told = f"the page of {args.phase} could not be made: {type(error).__name__}: {error}"
        print(f"warning: {told}", flush=True)
        page = run.phase(args.phase) / PHASE_REPORT_FILE
        write_text_atomic(page, f"<!doctype html><meta charset=utf-8><p>{escape(told)}</p>\n")
    return 0


if __name__ == "__main__":
    options = parser(__doc__, phase=False)
    options.add_argument("--phase", help="also write this phase's page, e.g. iter1")
    args = options.parse_args()
    launch(args, page_of_a_lap if args.phase else body, brief=bool(args.phase))
