"""Embed one shard of the source pool with the configured encoder."""

from deft.embedding.cache import cache_folder
from deft.run.cli import launch, parser
from deft.run.jobs import registered
from deft.run.stage import hard_stop_recorded
from deft.stages.context import Context
from deft.stages.embed import add_encoder_options, embed_shard, open_encoder


def body(args, run):
    """Embed; the contract's log has no line for it, only for its failure."""
    context = Context(run)
    with (
        hard_stop_recorded(
            run.dir, "preflight", "preflight", attempt=args.attempt, job=f"pool_embed_{args.shard}"
        ),
        registered(run.dir, "pool", f"embed_{args.shard}"),
    ):
        encoder = open_encoder(context, args)
        cache = cache_folder(context.workspace, args.cache)
        print(embed_shard(context, encoder, args.shard, cache, args.threads), flush=True)


if __name__ == "__main__":
    options = parser(__doc__, phase=False)
    options.add_argument("--shard", required=True, metavar="I-of-N", help="which part of the pool")
    add_encoder_options(options)
    launch(options.parse_args(), body)
