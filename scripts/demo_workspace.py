"""Draw the synthetic PCB workspace that the quick start runs on."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from deft.core.workspace_source import read_group, told
from deft.demo.workspace import WorkspaceRequest, make_workspace
from deft.run.cli import open_log
from deft.run.stage import main


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line; its options win over ``--config-json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the workspace to make")
    parser.add_argument("--config-json", help="the demo group: JSON text or a JSON file")
    parser.add_argument("--seed", type=int, help="same seed, same files (default 0)")
    parser.add_argument("--size-px", type=int, help="side of a picture per light (default 64)")
    parser.add_argument("--lights", type=int, help="lights per part, 1 or 2 (default 1)")
    parser.add_argument("--rows-scale", type=float, help="size of all tables (default 1.0)")
    parser.add_argument("--log", type=Path, help="also write everything printed to this file")
    return parser.parse_args(argv)


def body(args: argparse.Namespace) -> None:
    """Draw the workspace and print its row counts."""
    names = [field.name for field in fields(WorkspaceRequest)]
    given = read_group(args.config_json, "demo", names)
    given |= {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    print(told(args.out, make_workspace(args.out, WorkspaceRequest(**given))))


if __name__ == "__main__":
    args = parse()
    open_log(args.log)
    main(lambda: body(args))
