"""Decide whether the loop stops here."""

import argparse
import json

from deft.core.layout import Run
from deft.run.cli import launch, parser
from deft.run.stage_files import files_of
from deft.settings.metric_contract import parse_contract
from deft.stages.context import Context
from deft.stages.decide import Files, decide


def body(args: argparse.Namespace, run: Run) -> None:
    """Write the decision; it has no line in the loop log."""
    files = files_of(args, Files)
    context, asked = Context.of(args, run), (args.phase, args.question, args.kpi)
    contract = parse_contract(json.loads(args.contract)) if args.contract else None
    print(
        decide(context, files, *asked, args.max_iterations, contract, args.best_phase), flush=True
    )


if __name__ == "__main__":
    options = parser(__doc__, files=Files)
    options.add_argument("--question", choices=("kpi", "pool"), required=True)
    options.add_argument("--kpi", required=True, help='e.g. "FAR < 0.1%% at recall=100%%"')
    options.add_argument("--contract", default="", help="JSON: metric_contract; empty = FAR")
    options.add_argument("--best-phase", choices=("lowest_far", "proven"), default="lowest_far")
    launch(options.parse_args(), body)
