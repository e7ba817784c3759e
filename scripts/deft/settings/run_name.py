"""Which names a run may have, and which run a workspace's file or a command's targets name.

A run's name becomes a folder and stands in shell commands, so one function checks it wherever it
comes from: configuration, `results/current_run`, environment, command line. Imported while the
Snakefile is parsed: standard library only.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterable
from pathlib import Path

from deft.core.commands import again
from deft.core.errors import HardStop
from deft.core.layout import CURRENT_RUN, RUN_PREFIX
from deft.core.reading import read_bytes

MAX_CHARACTERS = 100  # file names are made of it
RUN_NAME = re.compile(rf"{RUN_PREFIX}[A-Za-z0-9_.-]+")  # of ASCII: \w would let others in
SHAPE = "run_ and letters, digits, _ . -"
RUNS_NAMED = 5
_IN_TARGET = (("results",), ("artifacts", "runs"))  # folders that have one folder a run


def check_run_name(name: object, *, source: str, file: Path | None = None) -> str:
    """Return ``name`` if a run may be called so; raises ``config_invalid``.

    ``source``: where it came from, for the message. ``file``: the file that holds it.
    """
    if isinstance(name, str) and len(name) <= MAX_CHARACTERS and RUN_NAME.fullmatch(name):
        return name
    shown = repr(name) if len(str(name)) <= MAX_CHARACTERS else repr(str(name)[:60] + "…")
    raise HardStop(
        "config_invalid",
        f"{source} names the run {shown}; a name is {SHAPE}, at most {MAX_CHARACTERS} characters",
        file=file,
        fix=_advice() if file else "name a run so, or leave it out: then it is the current one",
    )


def _advice() -> str:
    told = "write a run's name into it (the folders results/run_… are runs), or begin another: "
    return told + again("preflight", run="new")


def run_argument(text: str) -> str:
    """Return the name of a run that stands on a script's command line (an argparse type)."""
    try:
        return check_run_name(text, source="--run")
    except HardStop as stop:
        raise argparse.ArgumentTypeError(stop.message) from None


def current_run(workspace: Path) -> str | None:
    """Return the run that ``results/current_run`` names, None where there is no such file.

    Raises ``config_invalid``, with the file, for anything in it that is no run's name.
    """
    path = Path(workspace) / CURRENT_RUN
    if not os.path.lexists(path):
        return None
    try:
        raw = read_bytes(path, code="config_invalid")[: 10 * MAX_CHARACTERS]
    except HardStop as stop:  # a folder, a pipe, no right to read, a file where results/ should be
        told = f"the name of the current run cannot be read: {stop.message}"
        raise HardStop("config_invalid", told, file=path, fix=_advice()) from None
    try:
        name = raw.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        name = raw.decode("utf-8", errors="backslashreplace").strip()
    if not name:
        raise HardStop(
            "config_invalid",
            "the file of the current run's name is empty",
            file=path,
            fix=_advice(),
        )
    return check_run_name(name, source=CURRENT_RUN, file=path)


def known_runs(workspace: Path) -> list[str]:
    """Return the names of the runs of a workspace, in order."""
    try:
        found = [p.name for p in (Path(workspace) / "results").iterdir() if p.is_dir()]
    except OSError:
        return []
    return sorted(name for name in found if RUN_NAME.fullmatch(name))


def require_run(workspace: Path, name: str | None) -> str:
    """Return ``name`` if the workspace has that run; raises ``missing_input`` that lists the runs.

    None stands for a current run that is not recorded.
    """
    runs = known_runs(workspace)
    if name is not None and name in runs:
        return name
    shown = ", ".join(runs[-RUNS_NAMED:])
    more = f" and {len(runs) - RUNS_NAMED} earlier" if len(runs) > RUNS_NAMED else ""
    there = f"there are {shown}{more}" if len(runs) > 1 else f"there is {shown}"
    begin = f", or, to begin this one on purpose: {again('preflight', run=name)}" if name else ""
    raise HardStop(
        "missing_input",
        f"no {f'run {name}' if name else 'current run'}; "
        f"{there if runs else 'the workspace has no run yet'}",
        file=Path(workspace) / "results",
        fix=f"name one of the runs{begin}" if runs else f"begin with: {again('preflight')}{begin}",
    )


def runs_in_targets(workspace: Path, targets: Iterable[object]) -> list[str]:
    """Return the runs whose files are among a command's targets, each once, in order."""
    found = []
    for target in map(str, targets):
        path = target
        if "\0" in target:
            raise HardStop("config_invalid", f"the target {target[:60]!r} is no file name")
        if os.path.isabs(target):
            path = os.path.relpath(os.path.realpath(target), os.path.realpath(workspace))
        parts = Path(os.path.normpath(path)).parts
        for folder in _IN_TARGET:
            if parts[: len(folder)] == folder and len(parts) > len(folder):
                name = parts[len(folder)]
                if name.startswith(RUN_PREFIX):
                    found.append(check_run_name(name, source=f"the target {target!r}"))
    return list(dict.fromkeys(found))


def run_of_command(workspace: Path, given: str | None, targets: Iterable[object]) -> str | None:
    """Return the run that a command works on, None when it is to begin a new one.

    Parameters
    ----------
    given: `run` of the configuration: a name, ``new`` or None.
    targets: files and rules that Snakemake was asked for.

    Raises
    ------
    HardStop ``missing_input`` when a target names a run that is not there: only `run` begins one.
    ``config_invalid`` when targets and `run` name different runs, or targets name two.
    """
    named = runs_in_targets(workspace, targets)
    if given not in (None, "new"):
        named = list(dict.fromkeys([check_run_name(given, source="run"), *named]))
    elif given == "new" and named:
        raise HardStop(
            "config_invalid",
            f"run=new begins a run, and the targets name {', '.join(named)}",
            fix="leave run out, or ask for no file of an earlier run",
        )
    if len(named) > 1:
        raise HardStop(
            "config_invalid",
            f"one command works on one run, and this one names {' and '.join(named)}",
            fix="one command for each run",
        )
    if given is None and named:
        return require_run(workspace, named[0])
    if named:
        return named[0]
    return recorded_run(workspace) if given is None else None


def recorded_run(workspace: Path) -> str | None:
    """Return :func:`current_run`, where the workspace has it or has no run at all.

    The file may be written by hand: a slip in it begins no run. Raises ``missing_input``.
    """
    name = current_run(workspace)
    if name is None or not known_runs(workspace):
        return name
    try:
        return require_run(workspace, name)
    except HardStop as stop:
        told = f"{CURRENT_RUN} names {name}: {stop.message}"
        raise HardStop(stop.code, told, file=Path(workspace) / CURRENT_RUN, fix=_advice()) from None
