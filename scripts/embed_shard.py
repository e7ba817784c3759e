"""Embed one shard of the source pool with the configured encoder."""

import argparse

from deft.core.layout import Run
from deft.embedding.cache import cache_folder
from deft.run.cli import launch, parser
from deft.run.jobs import registered
from deft.run.stage import hard_stop_recorded
from deft.run.stage_files import files_of
from deft.stages.context import Context
from deft.stages.embed_shard import Files, embed_shard
from deft.stages.encoder import add_encoder_options, open_encoder


def body(args: argparse.Namespace, run: Run) -> None:
    """Embed; the contract's log has no line for it, only for its failure."""
    files, context = files_of(args, Files), Context.of(args, run)
    with (
        hard_stop_recorded(
            run.dir, "preflight", "preflight", attempt=args.attempt, job=f"pool_embed_{args.item}"
        ),
        registered(run.dir, "pool", f"embed_{args.item}"),
    ):
        encoder = open_encoder(context, args)
        cache = cache_folder(context.workspace, args.cache)
        print(embed_shard(context, files, encoder, args.item, cache, args.threads), flush=True)


if __name__ == "__main__":
    options = parser(__doc__, phase=False, files=Files)
    options.add_argument("--item", required=True, metavar="I-of-N", help="which part of the pool")
    add_encoder_options(options)
    launch(options.parse_args(), body)
