#!/usr/bin/env python3
"""Draw pictures of boards into folders OK, NG and golden, to try the loop without data."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from deft.demo.folders import make_folders  # noqa: E402
from deft.run.stage import main  # noqa: E402


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the folder to make")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same files")
    parser.add_argument("--scale", type=float, default=1.0, help="1 = 400 good parts, 320 defects")
    return parser.parse_args(argv)


def body(args: argparse.Namespace) -> None:
    """Draw, and print what was drawn."""
    for folder, pictures in make_folders(args.out, seed=args.seed, scale=args.scale).items():
        print(f"{args.out / folder}: {pictures} pictures")


if __name__ == "__main__":
    args = parse()
    main(lambda: body(args))
