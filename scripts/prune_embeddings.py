"""Prune the cache of embedded pictures: by encoder, age and size; merge small segments."""

from __future__ import annotations

import argparse
from pathlib import Path

from deft.embedding.cache import cache_folder
from deft.embedding.prune import prune, table
from deft.run.cli import open_log
from deft.run.stage import main


def bound(text: str) -> float | None:
    """Parse a number, or ``None`` as Snakemake prints it."""
    return None if text in ("", "None") else float(text)


def body(args: argparse.Namespace) -> None:
    """Prune and print what is kept."""
    folder = cache_folder(args.workspace, args.cache)
    if folder is None:
        print("no cache is kept (embedding_cache: off)")
        return
    print(folder)
    kept = prune(folder, days=args.days, gb=args.gb, encoder=args.encoder or None)
    print(table(kept), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path(), help="folder of the data")
    parser.add_argument("--cache", default="", help="its folder; nothing for the default")
    parser.add_argument("--days", type=bound, help="drop what was unused for longer")
    parser.add_argument("--gb", type=bound, help="then the longest unused, down to this size")
    parser.add_argument("--encoder", default="", help="drop all of one: name or part of its digest")
    parser.add_argument("--log", type=Path, help="also write everything printed to this file")
    given = parser.parse_args()
    open_log(given.log)
    main(lambda: body(given))
