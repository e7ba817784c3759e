"""Which processes work on a run, so that an orphan never writes beside its second copy.

When the main Snakemake process is killed alone, its jobs go on. Each stage leaves a note of its
process (id and start time: ids are used again) and refuses to start beside a living twin. Each
command leaves one too, with the name of its SLURM jobs: those that wait have no process yet.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from deft.core.commands import resume
from deft.core.disk import writing
from deft.core.errors import HardStop
from deft.core.files import to_json_line, write_json_atomic
from deft.core.reading import (
    check_shape,
    may_read,
    parse_json,
    read_bytes,
    read_json,
    require_file,
    set_aside,
    warn,
)
from deft.run import slurm
from deft.run.containers import running
from deft.run.place import foreign_place, place

JOBS_DIR = ".jobs"
COMMANDS = ".snakemake/deft_commands.jsonl"  # not in the run: a refused one leaves no run folder
TERM_GRACE_S = 20.0
NOTE = {"host": str, "pid": int, "started": float}
COMMAND = {**NOTE, "run": str, "slurm_name": (str, type(None))}
SLURM_JOB = re.compile(r"[0-9][0-9A-Za-z_.+-]{0,63}")
KILL_WAIT_S = 60.0  # longer than that a process hangs in the kernel, on a disk that does not answer


class AlreadyRunning(RuntimeError):
    """The same stage of the same run is being worked on by another process."""


def _note(run_dir: Path, phase: str, stage: str) -> Path:
    return run_dir / JOBS_DIR / f"{phase}_{stage}.json"


def _read(path: Path) -> dict[str, Any] | None:
    """Return a note, None when its process has ended, perhaps just now.

    One that cannot be read is moved aside: it is written whole or not at all, so what spoiled it
    (a machine that lost power, say) ended its process too.
    """
    try:
        note: dict[str, Any] = read_json(path, NOTE)
        if not _is_job(note.get("slurm_job")):
            raise HardStop("missing_input", "slurm_job is no number of a SLURM job", file=path)
    except HardStop as stop:
        if path.exists() and not may_read(path):  # another user's, perhaps of a living process
            raise
        if os.path.lexists(path):
            set_aside(path, stop.message)
        return None
    return note


def _myself(run_dir: Path) -> dict[str, Any]:
    mine = psutil.Process()
    facts = {"host": socket.gethostname(), "pid": mine.pid, "started": mine.create_time()}
    return {**facts, "slurm_job": slurm.own_job(), **place(run_dir)}


def is_alive(note: dict[str, Any]) -> bool:
    """Return whether the noted process still runs.

    On this host: the same id and start time. On another host only SLURM can tell, of its jobs; a
    job that SLURM started again is the same job. While SLURM is silent the process may still run.
    """
    if note["host"] != socket.gethostname():
        job = note.get("slurm_job")
        if job is None or job == slurm.own_job():
            return False
        found = slurm.is_active(job)
        if found is None and slurm.own_job() and not shutil.which("squeue"):
            return False  # a job in a container has nobody to ask: whoever started it has asked
        return found is not False
    try:
        process = psutil.Process(note["pid"])
        # A stopped process that nobody has collected yet does not write any more.
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return bool(abs(process.create_time() - note["started"]) < 1.0)
    except (psutil.NoSuchProcess, ValueError, OverflowError):  # also of a number that is no id
        return False
    except psutil.AccessDenied:
        return True  # it is there, and whose it is cannot be seen


@contextmanager
def registered(run_dir: str | Path, phase: str, stage: str) -> Iterator[None]:
    """Note this process for the time of a stage; raises :class:`AlreadyRunning`."""
    path = _note(Path(run_dir), phase, stage)
    other = _read(path)
    if other is not None and foreign_place(other, run_dir):
        other = None  # of the workspace that this one is a copy of
    if other is not None and other["pid"] != os.getpid() and is_alive(other):
        raise AlreadyRunning(
            f"{phase} {stage} is still being worked on by {_who(other)}, left over "
            f"from an earlier command; `{resume(Path(run_dir, '../..'))}` ends it and goes on"
        )
    container = running.living(run_dir, phase, stage)
    if container:
        raise AlreadyRunning(
            f"{phase} {stage} is still being worked on by the container {container}, left over "
            f"from an earlier command; `{resume(Path(run_dir, '../..'))}` ends it and goes on"
        )
    write_json_atomic(path, _myself(Path(run_dir)))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _who(note: dict[str, Any]) -> str:
    if note["host"] == socket.gethostname():
        return f"process {note['pid']}"
    return f"SLURM job {note['slurm_job']} on {note['host']} (if SLURM has not ended it)"


def note_command(workspace: Path, run: str, slurm_name: str | None) -> None:
    """Note this command, the name of its SLURM jobs if it has any, and the run that it works on."""
    path = workspace / COMMANDS
    if path.exists():
        require_file(path)
    facts = _myself(workspace / "results" / run)
    line = to_json_line({"run": run, **facts, "slurm_name": slurm_name}).encode() + b"\n"
    with writing(path, needed_bytes=len(line)), path.open("a+b", buffering=0) as handle:
        # A command that was killed in mid-write left a line without its end.
        end = handle.seek(0, os.SEEK_END)
        cut = end > 0 and os.pread(handle.fileno(), 1, end - 1) != b"\n"
        line = b"\n" * cut + line
        if handle.write(line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def commands(workspace: Path, run: str) -> list[dict[str, Any]]:
    """Return the noted commands of a run, the oldest first.

    Lines that cannot be read stay in the file and are told of: what their commands left behind is
    not found by it.
    """
    path = workspace / COMMANDS
    found, bad = [], 0
    for line in read_bytes(path).split(b"\n") if path.is_file() else []:
        note = _command(line)
        if note is not None:
            found.append(note)
        elif line.strip(b"\0 \t\r"):
            bad += 1
    if bad:
        warn(
            f"warning: {path} has {bad} line{'s' * (bad > 1)} that cannot be read (a command was "
            "killed while it wrote, or the disk lost them): jobs that only these name are not found"
        )
    return [note for note in found if note["run"] == run]


def _command(line: bytes) -> dict[str, Any] | None:
    try:
        note = parse_json(line.strip(b"\0").decode("utf-8"))
    except ValueError:
        return None
    job = note.get("slurm_job") if isinstance(note, dict) else None
    return None if check_shape(note, COMMAND) or not _is_job(job) else note


def _is_job(number: Any) -> bool:
    """Return whether a note's number of a SLURM job is one, or None: it is handed to squeue."""
    return number is None or isinstance(number, str) and bool(SLURM_JOB.fullmatch(number))


def orphans(run_dir: str | Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return the notes of living processes of a run; a copied workspace's original has its own."""
    paths = sorted((Path(run_dir) / JOBS_DIR).glob("*.json"))
    found = [(path, _read(path)) for path in paths]
    return [
        (path, note)
        for path, note in found
        if note is not None and is_alive(note) and not foreign_place(note, run_dir)
    ]


def end_orphans(run_dir: str | Path, *, grace_s: float = TERM_GRACE_S) -> list[str]:
    """End every orphan of a run (SIGTERM, then SIGKILL), and containers that outlived theirs.

    Waits until each is gone; returns one line per ended process or container. Raises
    :class:`AlreadyRunning` for a process on another host, which may be in somebody's whole
    allocation and is not ours to cancel, and for one that SIGKILL does not end.
    """
    lines = []
    for path, note in orphans(run_dir):
        if note["host"] != socket.gethostname():
            raise AlreadyRunning(
                f"{path.stem} is being worked on by {_who(note)}; "
                f"wait for it, or end it with: scancel {note['slurm_job']}"
            )
        _signal(note, signal.SIGTERM)
        if not _gone(note, grace_s):
            _signal(note, signal.SIGKILL)
            if not _gone(note, KILL_WAIT_S):
                raise AlreadyRunning(
                    f"{path.stem} (process {note['pid']}) does not end, not even by SIGKILL: it "
                    "waits for a disk or a driver; see to that, then resume"
                )
        path.unlink(missing_ok=True)
        lines.append(f"ended orphan {path.stem} (process {note['pid']})")
    return lines + running.end_containers(run_dir)


def _gone(note: dict[str, Any], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_alive(note) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not is_alive(note)


def _signal(note: dict[str, Any], number: int) -> None:
    try:
        os.kill(note["pid"], number)
    except ProcessLookupError:
        pass
