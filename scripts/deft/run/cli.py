"""What every stage's command line shares: common options and the log file."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from deft.core import disk
from deft.core.interrupt import raise_on_signals
from deft.core.layout import Run
from deft.core.reading import warn
from deft.run.leases import LEASES
from deft.run.stage import main
from deft.run.stage_files import add_files
from deft.settings.run_name import run_argument


class Tee:
    """A stream that also writes to the log file; progress bars stay on the terminal.

    Neither side may end the work: a log on a full disk is given up (and that is said), and what
    cannot be shown on a stream whose own disk is full is left out.
    """

    def __init__(self, stream: TextIO, log: TextIO, path: Path | None = None) -> None:
        self.stream, self.log, self.path = stream, log, path

    def write(self, text: str) -> int:
        """Write to both; lines that return the carriage are a bar's."""
        if "\r" not in text and not self.log.closed:
            try:
                self.log.write(text)
                self.log.flush()
            except OSError as error:
                self._give_up(error)
        return self._shown(text)

    def flush(self) -> None:
        """Flush both."""
        if not self.log.closed:
            try:
                self.log.flush()
            except OSError as error:
                self._give_up(error)
        try:
            self.stream.flush()
        except OSError as error:
            if error.errno not in disk.REASONS:
                raise

    def _give_up(self, error: OSError) -> None:
        with suppress(OSError):  # closing writes what is left
            self.log.close()
        told = disk.explain(error, self.path) or error
        self._shown(f"warning: no more is written to the log ({told})\n")

    def _shown(self, text: str) -> int:
        try:
            return self.stream.write(text)
        except OSError as error:
            if error.errno not in disk.REASONS:
                raise
            return len(text)

    def isatty(self) -> bool:
        """Return whether the user's side is a terminal."""
        return self.stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def parser(
    description: str | None,
    *,
    phase: bool = True,
    run_is_required: bool = True,
    files: type | None = None,
) -> argparse.ArgumentParser:
    """Return a parser with the options of every stage.

    ``files``: the dataclass of the stage's files (:mod:`deft.run.stage_files`); each is an option.
    """
    out = argparse.ArgumentParser(
        description=(description or "").strip().splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    out.add_argument("--workspace", type=Path, default=Path("."), help="folder of the data")
    name = "name of the run, run_<YYYYMMDD_HHMMSS>"
    out.add_argument("--run", required=run_is_required, type=run_argument, help=name)
    if phase:
        out.add_argument("--phase", required=True, help="baseline, iter1, iter2, …")
    out.add_argument("--max-iterations", type=int, default=0, help="laps, for the status line")
    out.add_argument("--attempt", type=int, default=1, help="the scheduler's attempt")
    out.add_argument("--log", type=Path, help="also write everything printed to this file")
    if files is not None:
        add_engine(out)
        add_files(out, files)
    return out


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add what a stage must know to open the spec, pictures and model files."""
    parser.add_argument(
        "--engine", choices=("native", "tao"), default="native", help="of the models"
    )
    parser.add_argument(
        "--picture-levels", type=int, help="full scale of pictures deeper than 8 bits"
    )
    parser.add_argument(
        "--containers", type=json.loads, default={}, help="JSON: settings of --engine tao"
    )


def open_log(path: Path | None) -> None:
    """Write everything printed from now on to ``path`` too; tracebacks go beside it."""
    if path is None:
        return
    os.environ.setdefault("DEFT_TRACEBACK", f"{path}.traceback")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        log = path.open("w", encoding="utf-8", errors="backslashreplace")
    except OSError as error:  # the work itself may still succeed, or say better what is wrong
        warn(f"warning: no log is written ({disk.explain(error, path) or error})")
        return
    sys.stdout, sys.stderr = Tee(sys.stdout, log, path), Tee(sys.stderr, log, path)


def launch(
    args: argparse.Namespace,
    body: Callable[[argparse.Namespace, Run], int | None],
    *,
    stops_in_order: bool = True,
) -> None:
    """Open the log, run ``body(args, run)`` and exit with its status.

    ``stops_in_order``: SIGTERM, SIGINT and SIGUSR1 end the work as an exception does, tidily.
    """
    if stops_in_order:
        raise_on_signals()
    open_log(args.log)
    run = getattr(args, "run", None) or ""
    named = (run, getattr(args, "phase", ""), Path(sys.argv[0]).stem)
    LEASES.begin(" ".join(filter(None, named)))  # a GPU is taken when the stage picks its device
    main(lambda: body(args, Run(args.workspace, run)))
