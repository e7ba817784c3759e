"""Make the strict tables of a workspace from files as people have them: docs/tables.md."""

from __future__ import annotations

import argparse
from pathlib import Path

from deft.core.layout import TABLES
from deft.importers.table_files import import_tables
from deft.run.cli import open_log
from deft.run.stage import main
from deft.tables.foreign.grid import reading_of


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--config-json", help="the import_table group: JSON text or a JSON file")
    parser.add_argument("--log", type=Path, help="also write everything printed to this file")
    return parser.parse_args(argv)


def body(args: argparse.Namespace) -> None:
    """Convert, and print what was understood of each table."""
    reading = reading_of(args.config_json, list(TABLES))
    print("\n".join(import_tables(args.workspace, reading)))


if __name__ == "__main__":
    args = parse()
    open_log(args.log)
    main(lambda: body(args))
