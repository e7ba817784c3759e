"""Compare every number that the report and other texts quote with the run's analysis.json."""

import argparse
import shlex
import sys

from deft.core.errors import HardStop
from deft.core.layout import Run
from deft.report.quotes import check_quotes
from deft.run.cli import launch, parser


def body(args: argparse.Namespace, run: Run) -> int:
    """Check; exit status 1 when a number is wrong or has no key."""
    try:
        files = shlex.split(args.files)
    except ValueError as error:
        raise HardStop(
            "config_invalid",
            f"quote_files is no list of words as a shell reads it ({error}): {args.files}",
            fix="put a name that has a quote or a blank in it between double quotes",
        ) from None
    told, problems = check_quotes(run, files)
    for problem in problems:
        print(problem, file=sys.stderr)
    for line in told:
        print(line)
    return 1 if problems else 0


if __name__ == "__main__":
    options = parser(__doc__, phase=False)
    options.add_argument("--files", default="", help="further .md, .tex or .html files")
    launch(options.parse_args(), body, brief=False)
