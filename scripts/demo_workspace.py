"""Draw the synthetic PCB workspace that the quick start runs on."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import fields

from deft.demo.workspace import Request, make_workspace
from deft.errors import HardStop


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line; options win over ``--config-json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True, help="the workspace to make")
    parser.add_argument("--config-json", help='the demo group, e.g. \'{"rows_scale": 0.5}\'')
    parser.add_argument("--seed", type=int, help="same seed, same files")
    parser.add_argument("--size-px", type=int, help="side of a picture per light (default 64)")
    parser.add_argument("--lights", type=int, choices=(1, 2), help="lights per part (default 1)")
    parser.add_argument("--rows-scale", type=float, help="size of all tables (default 1.0)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    given = json.loads(args.config_json) if args.config_json else {}
    for field in fields(Request):
        if getattr(args, field.name) is not None:
            given[field.name] = getattr(args, field.name)
    known = {field.name for field in fields(Request)}
    unknown = sorted(set(given) - known)
    if unknown:
        raise HardStop("config_invalid", f"unknown demo setting(s) {unknown}; known: {sorted(known)}")
    counts = make_workspace(args.out, Request(**given))
    if not counts:
        print(f"{args.out}: already drawn by this request, nothing to do")
    for role, labels in counts.items():
        print(f"{role:<11}{sum(labels.values()):>5} rows  {labels}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except HardStop as stop:
        sys.exit(str(stop))
