"""Whether a note was left by work in this folder, or came with a copy of another one's files.

A copied workspace has the notes of the original's processes: they are not its own to end.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

FOLDER = "run_dir"  # key of a note: absolute, links resolved


def place(run_dir: str | Path) -> dict[str, str]:
    """Return what a note says of where its work is done: ``<workspace>/results/<run>``."""
    return {FOLDER: os.path.realpath(run_dir)}


def foreign_place(note: Mapping[str, Any], run_dir: str | Path) -> str | None:
    """Return the run folder of a note that was left by work in another one, None for this one's.

    A folder that is not there any more has been moved here. Notes of earlier versions name none:
    then a process that still works in a workspace with a run of this name belongs to that.
    """
    noted = note.get(FOLDER)
    if noted is None:
        worked_in = _directory_of(note)
        noted = worked_in and os.path.join(worked_in, "results", Path(run_dir).name)
    if not isinstance(noted, str):
        return None
    here = os.path.realpath(run_dir)
    try:
        return None if noted == here or os.path.samefile(noted, here) else noted
    except FileNotFoundError:  # also: a first command's run folder, which is not there yet
        return noted if os.path.isdir(noted) else None
    except OSError:  # there, and not ours to look at
        return noted


def _directory_of(note: Mapping[str, Any]) -> str | None:
    """Return where the noted process works: jobs and commands work in the workspace."""
    try:
        process = psutil.Process(int(note["pid"]))
        if abs(process.create_time() - float(note["started"])) < 1.0:
            return process.cwd()
    except (psutil.Error, OSError, KeyError, TypeError, ValueError, OverflowError):
        pass
    return None
