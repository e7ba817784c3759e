"""Assemble the training table of a lap."""

from deft.run.cli import launch, parser
from deft.run.stage import hard_stop_recorded
from deft.stages.context import Context
from deft.stages.mine import assemble_lap


def body(args, run):
    """Assemble; the stage's log line comes with the validation."""
    with hard_stop_recorded(run.dir, args.phase, "data_merge"):
        print(assemble_lap(Context(run), args.phase), flush=True)


if __name__ == "__main__":
    launch(parser(__doc__).parse_args(), body)
