"""Compare the encoder with its record on five shipped pictures and measure its speed."""

import argparse

from deft.core.errors import HardStop
from deft.core.layout import BASELINE, Run
from deft.embedding.encoders.selftest import SelfTested, images_per_s, table, verify
from deft.embedding.encoders.table import CHANGENET
from deft.run.cli import add_engine, launch, parser
from deft.settings.tao import embeds_in_container
from deft.stages.context import Context
from deft.stages.encoder import add_encoder_options, open_encoder


def body(args: argparse.Namespace, run: Run) -> None:
    """Print the table; a mismatch is a hard stop."""
    # Not named by the rule: the test can also be asked for before there is a baseline.
    args.baseline = metrics = args.baseline or run.phase(BASELINE) / "metrics.json"
    if args.encoder == CHANGENET and not metrics.is_file():
        raise HardStop(
            "missing_input",
            "encoder changenet is the baseline's weights, and this run has no evaluated baseline",
            file=metrics,
            fix=f"snakemake results/{run.name}/{BASELINE}/metrics.json --config run={run.name}, or "
            "name another run or encoder",
        )
    context = Context.of(args, run)
    if embeds_in_container({"engine": args.engine, "encoder": args.encoder}):
        raise HardStop(
            "config_invalid",
            f"with engine: tao {args.encoder} is embedded by TAO's container; the self-test knows "
            "this project's own encoders",
            fix="set engine: native, or another encoder",
        )
    tested = open_encoder(context, args)
    assert isinstance(tested, SelfTested)
    done = verify(tested.encoder, tested.record)
    print(table(tested.encoder, done, images_per_s(tested.encoder)), flush=True)


if __name__ == "__main__":
    options = parser(__doc__, phase=False)
    add_engine(options)
    add_encoder_options(options)
    launch(options.parse_args(), body)
