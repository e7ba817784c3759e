"""Record which pre-generated pairs a lap uses, and that they are unchanged."""

from deft.run.cli import launch, parser
from deft.run.stage import run_stage
from deft.stages.context import Context
from deft.stages.evaluate import ingest


def body(args, run):
    """Ingest as one logged stage."""
    run_stage(
        run.dir,
        args.phase,
        "anomalygen",
        lambda: ingest(Context(run), args.phase),
        next_stage="data_mining",
        max_iterations=args.max_iterations,
    )


if __name__ == "__main__":
    launch(parser(__doc__).parse_args(), body)
