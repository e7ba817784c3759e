"""Which containers work for a run, so that none goes on writing after its launcher is gone.

A container is a child of the runtime's service, not of the process that asked for it: it survives
that process. Each one is noted in the run folder while it works, and has the run's labels.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

from deft.core.errors import HardStop
from deft.core.files import write_json_atomic
from deft.core.reading import read_json, set_aside
from deft.run.containers.command import STOP_GRACE_S, Container
from deft.run.place import foreign_place, place
from deft.settings.tao import RUNTIMES

NOTES_DIR = ".jobs/containers"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
ANSWER_S = 60  # a question to the runtime's service


def note(run_dir: Path, container: Container, *, phase: str, stage: str) -> Path:
    """Note a container that is about to run; returns the note's file."""
    path = Path(run_dir) / NOTES_DIR / f"{container.name}.json"
    facts = {"host": socket.gethostname(), "runtime": container.runtime, "name": container.name}
    write_json_atomic(path, {**facts, "phase": phase, "stage": stage, **place(run_dir)})
    return path


def notes(run_dir: str | Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return the notes of this host's containers of a run, whether they still run or not."""
    return [note for note in _all_notes(run_dir) if note[1]["host"] == socket.gethostname()]


def _all_notes(run_dir: str | Path) -> list[tuple[Path, dict[str, Any]]]:
    found = []
    for path in sorted((Path(run_dir) / NOTES_DIR).glob("*.json")):
        try:
            found.append((path, read_json(path, {"host": str, "runtime": str, "name": str})))
        except HardStop as stop:  # a crash spoiled it: its container must be looked for by hand
            set_aside(path, stop.message)
    # The note lies in the user's folder: nothing but a known program and a plain name is run.
    return [
        (path, facts)
        for path, facts in found
        if facts.get("runtime") in RUNTIMES
        and NAME.fullmatch(str(facts.get("name")))
        and facts.get("host")
        and not foreign_place(facts, run_dir)  # of the workspace that this one is a copy of
    ]


def runs(runtime: str, name: str) -> bool:
    """Return whether a container of this name exists."""
    if not shutil.which(runtime):
        return False
    asked = [runtime, "ps", "--all", "--quiet", "--filter", f"name=^{re.escape(name)}$"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=ANSWER_S, check=False)
    return done.returncode == 0 and bool(done.stdout.strip())


def stop(runtime: str, name: str) -> None:
    """End a container (a request, then a kill) and wait until it is gone."""
    asked = [runtime, "stop", "-t", str(STOP_GRACE_S), name]
    limit = STOP_GRACE_S + ANSWER_S
    subprocess.run(asked, capture_output=True, timeout=limit, check=False)
    # --rm removes it; what was never started, or a service that was down meanwhile, does not.
    if runs(runtime, name):
        asked = [runtime, "rm", "--force", name]
        subprocess.run(asked, capture_output=True, timeout=limit, check=False)


def living(run_dir: str | Path, phase: str, stage: str) -> str | None:
    """Return the name of a container that still works on a stage."""
    for _, facts in notes(run_dir):
        if (facts.get("phase"), facts.get("stage")) == (phase, stage):
            if runs(facts["runtime"], facts["name"]):
                return str(facts["name"])
    return None


def end_containers(run_dir: str | Path) -> list[str]:
    """End every noted container of a run on this host; returns one line per ended one.

    A container of another host cannot be asked from here: a line says where to look.
    """
    lines = []
    for path, facts in _all_notes(run_dir):
        if facts["host"] != socket.gethostname():
            ended_by = f"{facts['runtime']} stop {facts['name']}"
            lines.append(f"a container may still work on {facts['host']}; end it there: {ended_by}")
            continue
        if runs(facts["runtime"], facts["name"]):
            stop(facts["runtime"], facts["name"])
            lines.append(f"ended container {facts['name']} ({facts['phase']} {facts['stage']})")
        path.unlink(missing_ok=True)
    return lines
