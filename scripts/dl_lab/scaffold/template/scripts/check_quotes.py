#!/usr/bin/env python3
"""Compare every number of a text with the key of its run's analysis.json that it quotes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

try:
    from lab.quotes import check_files
except ModuleNotFoundError as missing:
    sys.exit(f"{missing}; install it by: python3 -m pip install -r requirements.txt")

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: list[str] | None = None) -> int:
    """Check the files; 1 when a quote is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tag", required=True, help="the run that pointers without a path mean")
    parser.add_argument("files", nargs="+", type=Path, help="Markdown or TeX")
    given = parser.parse_args(arguments)
    told, problems = check_files(
        given.files, ROOT / "artifacts" / "runs" / given.tag / "analysis.json"
    )
    print("\n".join([*problems, *told]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
