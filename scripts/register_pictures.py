"""Make a workspace whose test pictures are laid on their goldens: docs/registration.md."""

from __future__ import annotations

import argparse
from pathlib import Path

from deft.core.commands import again
from deft.core.errors import HardStop
from deft.core.places import found
from deft.importers.registered import register_workspace
from deft.run.cli import open_log
from deft.run.stage import main
from deft.score_kit.registration import KINDS, OFF


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", required=True, help="the workspace with the pictures as taken")
    parser.add_argument(
        "--typed-in", type=Path, default=Path(), help="where a relative root begins"
    )
    parser.add_argument("--out", type=Path, required=True, help="the workspace to make")
    parser.add_argument("--kind", choices=KINDS, required=True, help="what is taken back")
    parser.add_argument("--picture-levels", type=int, help="full scale of deeper ones; 0 = none")
    parser.add_argument("--log", type=Path, help="also write everything printed to this file")
    return parser.parse_args(argv)


def body(args: argparse.Namespace) -> None:
    """Register, and print what was moved and what was not."""
    if args.kind == OFF or not args.root:
        raise HardStop(
            "config_invalid",
            "register is off" if args.kind == OFF else "register_from is not set",
            fix=again("register_pictures", register="shift", register_from="DIR")
            + " (workspace: the folder to make)",
        )
    root = found(args.root, args.typed_in, args.out)
    lines = register_workspace(root, args.out, args.kind, args.picture_levels or None)
    print("\n".join(lines))


if __name__ == "__main__":
    args = parse()
    open_log(args.log)
    main(lambda: body(args))
