"""Make a workspace from a local copy of DeepPCB."""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path

from deft.core.errors import HardStop
from deft.core.places import found
from deft.core.workspace_source import read_group, told
from deft.importers.deeppcb import import_deeppcb
from deft.importers.deeppcb_settings import Settings
from deft.importers.deeppcb_source import LICENCE_NOTE
from deft.run.cli import open_log
from deft.run.stage import main


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", help="folder that holds PCBData/ (else deeppcb.root)")
    parser.add_argument(
        "--typed-in", type=Path, default=Path(), help="where a relative root begins"
    )
    parser.add_argument("--out", type=Path, required=True, help="the workspace to make")
    parser.add_argument("--config-json", help="the deeppcb group: JSON text or a JSON file")
    parser.add_argument("--seed", type=int, help="used where the group's own seed is null")
    parser.add_argument("--log", type=Path, help="also write everything printed to this file")
    return parser.parse_args(argv)


def body(args: argparse.Namespace) -> None:
    """Import and print the row counts."""
    given = read_group(args.config_json, "deeppcb", [field.name for field in fields(Settings)])
    settings = Settings(**given)
    if settings.seed is None:
        settings = replace(settings, seed=args.seed)
    root = args.root or settings.root
    if not root:
        raise HardStop(
            "config_invalid", "deeppcb.root is not set", fix="name the folder that holds PCBData/"
        )
    root = found(root, args.typed_in, args.out)
    print(LICENCE_NOTE)
    print(told(args.out, import_deeppcb(root, args.out, settings)))


if __name__ == "__main__":
    args = parse()
    open_log(args.log)
    main(lambda: body(args))
