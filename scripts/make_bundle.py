"""Pack wheels, weights, environments and code for a machine without a connection."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from deft.bundle.collect import BundleRequest, make_bundle
from deft.core.yaml_files import read_mapping
from deft.run.stage import main
from deft.settings.config import resolve
from deft.settings.environments import ENVS_DIR


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="a folder, or a file *.tar")
    parser.add_argument("--workspace", type=Path, help="pack the weights that its spec names")
    parser.add_argument("--configfile", type=Path, help="settings, for encoder and encoder_weights")
    parser.add_argument("--requirements", type=Path, default=ENVS_DIR / "requirements.txt")
    parser.add_argument(
        "--extra", type=Path, nargs="*", default=[], help="more files, e.g. deft.sif"
    )
    parser.add_argument("--pip-args", default="", help='e.g. "--index-url URL"')
    parser.add_argument("--no-code", action="store_true", help="leave the project itself out")
    return parser.parse_args(argv)


def settings(path: Path | None) -> dict[str, Any]:
    """Return the configuration, checked as Snakemake's is."""
    if path is None:
        return resolve({})
    return resolve(read_mapping(path, code="config_invalid"))


def body(args: argparse.Namespace) -> None:
    """Make the bundle and say how to use it."""
    request = BundleRequest(
        args.out,
        args.requirements,
        args.workspace,
        settings(args.configfile) if args.workspace else {},
        tuple(args.extra),
        tuple(shlex.split(args.pip_args)),
        not args.no_code,
    )
    out = make_bundle(request)
    print(f"bundle: {out}\nthere: python3 install.py --venv DIR [--workspace DIR] [--code DIR]")


if __name__ == "__main__":
    args = parse()
    main(lambda: body(args))
