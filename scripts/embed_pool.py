"""Join the embedded shards of the source pool."""

from pathlib import Path

from deft.run.cli import launch, parser
from deft.run.jobs import registered
from deft.run.stage import hard_stop_recorded
from deft.stages.context import Context
from deft.stages.embed import join_shards


def body(args, run):
    """Join; the contract's log has no line for it, only for its failure."""
    with (
        hard_stop_recorded(
            run.dir, "preflight", "preflight", attempt=args.attempt, job="pool_embed_join"
        ),
        registered(run.dir, "pool", "embed"),
    ):
        print(join_shards(Context(run), args.shards), flush=True)


if __name__ == "__main__":
    options = parser(__doc__, phase=False)
    options.add_argument("--shards", type=Path, nargs="+", required=True, help="files to join")
    launch(options.parse_args(), body)
