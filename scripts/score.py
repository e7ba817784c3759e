"""Score new boards with the best model of a run."""

import argparse
from pathlib import Path

from deft.core.layout import Run
from deft.run.cli import launch, parser
from deft.settings.options import add_option
from deft.stages.score import score_boards


def body(args: argparse.Namespace, run: Run) -> None:
    """Score the table and say where the result lies."""
    out = score_boards(
        run,
        args.table,
        args.images,
        typed_in=args.typed_in,
        device=args.device,
        threads=args.threads,
    )
    print(f"scores: {out.resolve()}")


if __name__ == "__main__":
    options = parser(__doc__, phase=False)
    options.add_argument("--table", default="", help="the parts to score")
    options.add_argument("--images", default="", help="root of their pictures")
    options.add_argument("--typed-in", type=Path, default=Path("."), help="of relative paths")
    add_option(options, "device")
    options.add_argument("--threads", type=int, default=1, help="CPU threads")
    launch(options.parse_args(), body, brief=False)
