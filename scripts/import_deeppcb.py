"""Make a workspace from a local copy of DeepPCB."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import fields, replace
from pathlib import Path

from deft.errors import HardStop
from deft.importers.deeppcb import Settings, import_deeppcb
from deft.importers.deeppcb_source import LICENCE_NOTE


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", help="folder that holds PCBData/ (else deeppcb.root)")
    parser.add_argument("--out", required=True, help="the workspace to make")
    parser.add_argument("--config-json", help="the deeppcb group: JSON text or a JSON file")
    parser.add_argument("--seed", type=int, help="used where the group's seed is null")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    text = args.config_json or "{}"
    given = json.loads(text if text.lstrip().startswith("{") else Path(text).read_text("utf-8"))
    known = {field.name for field in fields(Settings)}
    unknown = sorted(set(given) - known)
    if unknown:
        raise HardStop("config_invalid", f"unknown deeppcb setting(s) {unknown}; known: {sorted(known)}")
    settings = Settings(**given)
    if settings.seed is None:
        settings = replace(settings, seed=args.seed)
    root = args.root or settings.root
    if not root:
        raise HardStop(
            "config_invalid", "deeppcb.root is not set", fix="name the folder that holds PCBData/"
        )
    print(LICENCE_NOTE)
    counts = import_deeppcb(root, args.out, settings)
    if not counts:
        print(f"{args.out}: already made by this request, nothing to do")
    for role, labels in counts.items():
        print(f"{role:<11}{sum(labels.values()):>6} rows  {labels}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except HardStop as stop:
        sys.exit(str(stop))
