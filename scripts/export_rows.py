"""Write a phase's weak or mined pictures for COCO, FiftyOne, Label Studio, or into folders."""

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

from deft.core.errors import HardStop
from deft.core.layout import Run
from deft.record.rows_out import MINED, WEAK, WRITERS, pictures_of
from deft.record.run_files import load_run
from deft.record.strict import Strict
from deft.run.cli import launch, parser
from deft.settings.run_name import current_run, require_run


def body(args: argparse.Namespace, run: Run) -> None:
    """Write the files into a new or empty folder."""
    run = replace(run, name=run.name or require_run(run.workspace, current_run(run.workspace)))
    files = load_run(run.dir, run.workspace, Strict())
    rows = pictures_of(files, args.phase, args.what)
    out = args.out.absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        fix = "give another --out, or empty it"
        raise HardStop("config_invalid", "the folder to write to is not empty", file=out, fix=fix)
    out.mkdir(parents=True, exist_ok=True)
    try:
        written = WRITERS[args.to](rows, out, files.workspace)
    except BaseException:  # nothing is left half written; the folder was empty
        for path in out.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise
    print(f"{written}: {len(rows)} {args.what} pictures of {args.phase}")


def options() -> argparse.ArgumentParser:
    """Return the parser of the command line; without --run it is the current one."""
    found = parser(__doc__, run_is_required=False)
    found.add_argument("what", choices=(MINED, WEAK))
    found.add_argument("to", choices=sorted(WRITERS))
    found.add_argument("--out", type=Path, required=True, help="an empty or new folder")
    return found


if __name__ == "__main__":
    launch(options().parse_args(), body, brief=False)
