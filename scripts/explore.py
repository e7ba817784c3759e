"""Explore a model file: does it run here, how is it called, how fast is it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from deft.core.interrupt import raise_on_signals
from deft.core.workspace_source import read_group
from deft.run.cli import open_log
from deft.run.stage import main
from deft.settings.session import inherited
from model_explorer.driver import explore
from model_explorer.request import Request


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path("."), help="where tmp/ is made")
    parser.add_argument(
        "--typed-in", type=Path, help="folder of relative paths, after the workspace"
    )
    parser.add_argument(
        "--config-json",
        help="the explore group: JSON text or a JSON file (default: the command's configuration)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default auto)")
    parser.add_argument("--seed", type=int, default=0, help="of made-up inputs (default 0)")
    parser.add_argument(
        "--threads", type=int, default=1, help="CPU threads of the model (default 1)"
    )
    parser.add_argument("--log", type=Path, help="also write everything printed to this file")
    return parser.parse_args(argv)


def body(args: argparse.Namespace) -> None:
    """Explore and print where the reports are."""
    whole = json.loads(inherited("DEFT_CONFIG") or "{}")  # checked where it was handed down
    group = args.config_json or json.dumps(whole.get("explore", {}))
    given = read_group(group, "explore", Request.names())
    request = Request(**given, device=args.device, seed=args.seed, threads=args.threads)
    workspace = args.workspace.absolute()
    explore(request, workspace, (args.typed_in or workspace).absolute())


if __name__ == "__main__":
    args = parse()
    raise_on_signals()  # so that a half-made folder is taken away
    open_log(args.log)
    main(lambda: body(args))
