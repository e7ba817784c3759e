"""Which processes work on a run, so that an orphan never writes beside its second copy.

When the main Snakemake process is killed alone, its jobs go on. Each stage leaves a note of its
process (id and start time: ids are used again) and refuses to start beside a living twin.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from deft.files import read_json, write_json_atomic
from deft.tao import running

JOBS_DIR = ".jobs"
TERM_GRACE_S = 20.0


class AlreadyRunning(RuntimeError):
    """The same stage of the same run is being worked on by another process."""


def _note(run_dir: Path, phase: str, stage: str) -> Path:
    return run_dir / JOBS_DIR / f"{phase}_{stage}.json"


def is_alive(note: dict[str, Any]) -> bool:
    """Return whether the noted process still runs on this host (same id and start time)."""
    if note["host"] != socket.gethostname():
        return False
    try:
        process = psutil.Process(note["pid"])
        # A stopped process that nobody has collected yet does not write any more.
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return abs(process.create_time() - note["started"]) < 1.0
    except psutil.NoSuchProcess:
        return False


@contextmanager
def registered(run_dir: str | Path, phase: str, stage: str) -> Iterator[None]:
    """Note this process for the time of a stage; raises :class:`AlreadyRunning`."""
    path = _note(Path(run_dir), phase, stage)
    if path.exists():
        other = read_json(path)
        if other["pid"] != os.getpid() and is_alive(other):
            raise AlreadyRunning(
                f"{phase} {stage} is still being worked on by process {other['pid']}, left over "
                "from an earlier command; `make resume` ends it and goes on"
            )
    container = running.living(run_dir, phase, stage)
    if container:
        raise AlreadyRunning(
            f"{phase} {stage} is still being worked on by the container {container}, left over "
            "from an earlier command; `make resume` ends it and goes on"
        )
    mine = psutil.Process()
    write_json_atomic(
        path,
        {"host": socket.gethostname(), "pid": mine.pid, "started": mine.create_time()},
    )
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def orphans(run_dir: str | Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return the notes of living processes of a run on this host."""
    notes = sorted((Path(run_dir) / JOBS_DIR).glob("*.json"))
    found = [(path, read_json(path)) for path in notes]
    return [(path, note) for path, note in found if is_alive(note)]


def end_orphans(run_dir: str | Path, *, grace_s: float = TERM_GRACE_S) -> list[str]:
    """End every orphan of a run (SIGTERM, then SIGKILL), and containers that outlived theirs.

    Waits until each is gone; returns one line per ended process or container.
    """
    lines = []
    for path, note in orphans(run_dir):
        _signal(note, signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while is_alive(note) and time.monotonic() < deadline:
            time.sleep(0.1)
        if is_alive(note):
            _signal(note, signal.SIGKILL)
            while is_alive(note):
                time.sleep(0.1)
        path.unlink(missing_ok=True)
        lines.append(f"ended orphan {path.stem} (process {note['pid']})")
    return lines + running.end_containers(run_dir)


def _signal(note: dict[str, Any], number: int) -> None:
    try:
        os.kill(note["pid"], number)
    except ProcessLookupError:
        pass
