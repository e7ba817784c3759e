"""Write what differs from the defaults into the workspace's deft.yaml, and print it."""

from __future__ import annotations

import argparse
from pathlib import Path

from deft.core.files import write_text_atomic
from deft.core.reading import read_text
from deft.run.cli import open_log
from deft.run.stage import main
from deft.settings.config import from_json
from deft.settings.session import inherited
from deft.settings.workspace_file import SETTINGS_FILE, as_text


def body(args: argparse.Namespace) -> None:
    """Write the file; the earlier one, which may hold the user's own comments, is kept beside."""
    text = as_text(from_json(inherited("DEFT_CONFIG") or "{}"))
    path = args.workspace.absolute() / SETTINGS_FILE
    before = read_text(path, code="config_invalid") if path.is_file() else text
    if before != text:
        write_text_atomic(path.with_name(f"{path.name}.old"), before)
    write_text_atomic(path, text)
    kept = f" (as it was: {path.name}.old)" if before != text else ""
    print(f"{text.rstrip()}\n\nwritten: {path}{kept}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path(), help="folder of the data")
    parser.add_argument("--log", type=Path, help="also write everything printed to this file")
    given = parser.parse_args()
    open_log(given.log)
    main(lambda: body(given))
