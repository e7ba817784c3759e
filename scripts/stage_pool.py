"""Stage the source pool: real rows and pre-generated pairs under one table."""

from deft.run.cli import launch, parser
from deft.run.stage import hard_stop_recorded
from deft.stages.context import Context
from deft.stages.pool import stage_pool


def body(args, run):
    """Stage; the contract's log has no line for it, only for its failure."""
    with hard_stop_recorded(run.dir, "preflight", "preflight"):
        print(stage_pool(Context(run), args.encoder), flush=True)


if __name__ == "__main__":
    options = parser(__doc__, phase=False)
    options.add_argument("--encoder", required=True, help="the one that will embed the pool")
    launch(options.parse_args(), body)
