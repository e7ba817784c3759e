"""Rank the rows whose label is doubtful, for a person to look at."""

import argparse

from deft.core.layout import Run
from deft.embedding.cache import cache_folder
from deft.run.cli import launch, parser
from deft.run.stage_files import files_of
from deft.stages.context import Context
from deft.stages.encoder import add_encoder_options, open_encoder
from deft.stages.label_doubts import Files, Means, label_doubts


def body(args: argparse.Namespace, run: Run) -> None:
    """Rank; no stage of the loop, so the contract's log has no line for it."""
    from deft.changenet.device import pick_device  # seconds of import, wanted only here

    context = Context.of(args, run)
    means = Means(
        open_encoder(context, args),
        cache_folder(context.workspace, args.cache),
        str(pick_device(args.device)),
        args.threads,
        args.memory_mb,
    )
    files = files_of(args, Files)
    print(label_doubts(context, files, means), flush=True)
    print(f"look at them: {files.table}", flush=True)


if __name__ == "__main__":
    options = parser(__doc__, files=Files)
    add_encoder_options(options)
    options.add_argument("--memory-mb", type=int, default=512, help="bound of the exact search")
    launch(options.parse_args(), body, brief=False)
