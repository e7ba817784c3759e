"""Mine the pool for the weak samples of the previous phase."""

import argparse
import json
from typing import Any

from deft.core.layout import Run
from deft.embedding.cache import cache_folder
from deft.mining.strategies import Rules
from deft.run.cli import launch, parser
from deft.run.stage import run_stage
from deft.run.stage_files import files_of
from deft.settings.options import add_option
from deft.stages.context import Context
from deft.stages.encoder import add_encoder_options, open_encoder
from deft.stages.mine import Files, mine
from deft.stages.mine_inputs import MineOptions


def _rules(given: dict[str, Any]) -> Rules:
    """Rules of the selection; history is the files', and is said by naming them."""
    return Rules(**{name: value for name, value in given.items() if name != "history"})


def body(args: argparse.Namespace, run: Run) -> None:
    """Mine as one logged stage."""

    def work() -> str:
        from deft.changenet.device import pick_device  # seconds of import, wanted only here

        given = json.loads(args.rules)
        causes = given.pop("causes", None)
        context = Context.of(args, run)
        encoder = open_encoder(context, args)
        options = MineOptions(
            args.strategy,
            args.top_k,
            args.min_similarity,
            args.memory_mb,
            args.content_leakage,
            args.seed,
            args.search,
            str(pick_device(args.device)),
            given.pop("budget", None),
            _rules(given),
            cache_folder(context.workspace, args.cache),
            args.threads,
            causes,
        )
        return mine(context, files_of(args, Files), args.phase, encoder, options)

    run_stage(
        run.dir,
        args.phase,
        "data_mining",
        work,
        attempt=args.attempt,
        next_stage="data_merge",
        max_iterations=args.max_iterations,
    )


if __name__ == "__main__":
    options = parser(__doc__, files=Files)
    add_option(options, "mining", "--strategy", required=True)
    options.add_argument(
        "--rules", default="{}", help="JSON: budget and rules of deft.mining.strategies"
    )
    add_option(options, "top_k_per_target", "--top-k", required=True)
    add_option(options, "min_similarity", required=True)
    add_encoder_options(options)
    add_option(options, "search_memory_mb", "--memory-mb")
    for name in ("search", "content_leakage", "seed"):
        add_option(options, name)
    launch(options.parse_args(), body)
