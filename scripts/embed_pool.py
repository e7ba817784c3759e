"""Join the embedded shards of the source pool."""

import argparse

from deft.core.layout import Run
from deft.run.cli import launch, parser
from deft.run.jobs import registered
from deft.run.stage import hard_stop_recorded
from deft.run.stage_files import files_of
from deft.stages.embed_pool import Files, embed_pool


def body(args: argparse.Namespace, run: Run) -> None:
    """Join; the contract's log has no line for it, only for its failure."""
    with (
        hard_stop_recorded(
            run.dir, "preflight", "preflight", attempt=args.attempt, job="pool_embed_join"
        ),
        registered(run.dir, "pool", "embed"),
    ):
        print(embed_pool(files_of(args, Files)), flush=True)


if __name__ == "__main__":
    launch(parser(__doc__, phase=False, files=Files).parse_args(), body)
