"""The command line that preflight, approve and gate share, and how a stop is recorded."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from deft.core import places
from deft.core.errors import HardStop
from deft.core.files import write_text_atomic
from deft.core.layout import CURRENT_RUN, Run
from deft.run.cli import open_log
from deft.run.stage import write_down
from deft.settings.config import from_json, sources
from deft.settings.run_name import run_argument

PHASE = STAGE = "preflight"
HANDED_OVER = "hand-over"  # source of a setting that the run's earlier state names


class PreflightRequest(NamedTuple):
    """What each of the three commands needs."""

    workspace: Path
    run_dir: Path
    config: dict[str, Any]
    sources: dict[str, str]


def parse(description: str | None, argv: list[str] | None = None) -> PreflightRequest:
    """Return the command line, its configuration filled in and checked."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--workspace", type=Path, default=Path(), help="default: this folder")
    parser.add_argument("--run-dir", type=Path, required=True, help="results/run_<YYYYMMDD_HHMMSS>")
    parser.add_argument(
        "--config-json",
        default=os.environ.get("DEFT_CONFIG", "{}"),
        help="configuration as JSON; absent keys have their default",
    )
    parser.add_argument(
        "--user-keys",
        nargs="*",
        default=os.environ.get("DEFT_USER_KEYS", "").split(),
        metavar="KEY",
        help="keys that the user gave himself",
    )
    parser.add_argument(
        "--taken-keys",
        nargs="*",
        default=os.environ.get("DEFT_TAKEN_KEYS", "").split(),
        metavar="KEY",
        help="keys whose value is that of the state that this run was handed over with",
    )
    parser.add_argument("--log", type=Path, help="also write everything printed to this file")
    given = parser.parse_args(argv)
    try:
        run_argument(given.run_dir.name)
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    open_log(given.log)
    config = from_json(given.config_json)
    return PreflightRequest(
        given.workspace.absolute(),
        given.run_dir.absolute(),
        config,
        {**sources(config, set(given.user_keys)), **dict.fromkeys(given.taken_keys, HANDED_OVER)},
    )


def recorded(request: PreflightRequest, work: Callable[[], str]) -> str:
    """Run ``work``; a stop of the checks goes to the state and the log, then up.

    A missing approval is no failure of the run, only the gate doing its duty: nothing is written.
    """
    if request.workspace.is_dir():
        places.require(request.workspace, Run(request.workspace, request.run_dir.name))
    _record_current(request)
    try:
        return work()
    except HardStop as stop:
        if stop.code != "approval_missing" and request.workspace.is_dir():
            write_down(request.run_dir, PHASE, STAGE, stop)
        raise


def _record_current(request: PreflightRequest) -> None:
    # From here on a command without a run's name means this run; a run that the user names
    # for one command stays what it is, a guest.
    known = (request.workspace / CURRENT_RUN).is_file()
    if request.workspace.is_dir() and (request.config["run"] == "new" or not known):
        write_text_atomic(request.workspace / CURRENT_RUN, request.run_dir.name + "\n")
