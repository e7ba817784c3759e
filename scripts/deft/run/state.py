"""``deft_state.json`` and ``loop_log.jsonl``: the only module that writes either.

Both are written under one lock in the run folder, so that jobs which end at the same moment
neither lose an update nor share a sequence number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from deft.core.commands import resume
from deft.core.errors import HardStop, StageFailed
from deft.core.files import write_json_atomic
from deft.core.reading import may_read, read_json, set_aside
from deft.run.log_lines import append, is_entry, read_lines
from deft.run.roots import state_here
from deft.run.state_format import (
    FAILED,
    IN_PROGRESS,
    PHASE_KEYS,
    STATE_VERSION,
    modern,
    own_part,
    state_problem,
)
from deft.run.state_rebuilt import rebuilt
from deft.run.state_version_4 import complete_version_4, is_version_4

STATE_FILE = "deft_state.json"
LOG_FILE = "loop_log.jsonl"
LOCK_FILE = ".state.lock"
LOCK_TIMEOUT_S = 120
STAGES = (
    "preflight",
    "train",
    "inference",
    "evaluate",
    "rca",
    "routing",
    "anomalygen",
    "data_mining",
    "data_merge",
    "loop_stop",
)


def utc_now() -> str:
    """Return the time in UTC as ``2026-01-31T12:00:00Z``."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def _lock(run_dir: Path) -> Iterator[None]:
    run_dir.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(run_dir / LOCK_FILE, timeout=LOCK_TIMEOUT_S):
            yield
    except Timeout:
        raise StageFailed(
            f"{run_dir / LOCK_FILE} is held by another process for {LOCK_TIMEOUT_S} s: the state "
            "could not be written; see which job of the run hangs. To end orphans: "
            f"{resume(run_dir / '../..')}"
        ) from None


def read_state(run_dir: str | Path) -> dict[str, Any]:
    """Return the state, or ``{}`` when there is none yet; its paths lie in this workspace.

    See :mod:`deft.run.roots`: a moved workspace goes on with its own files. A state that cannot be
    read is made again from the log, in memory; the next update moves the broken file aside. Raises
    HardStop ``missing_input`` when there is no log to make it from: then it is the user's own,
    pre-seeded.
    """
    return _state_of(Path(run_dir))[0]


def _state_of(run_dir: Path) -> tuple[dict[str, Any], str]:
    """Return the state, and what is wrong with its file when it had to be made again."""
    path = run_dir / STATE_FILE
    if not path.exists():
        return {}, ""
    try:
        state = read_json(path)
        state = modern(state) if isinstance(state, dict) else state
        problem = state_problem(state)
    except HardStop as stop:
        if not may_read(path):  # it may be whole; nobody but its owner can tell
            raise
        state, problem = {}, stop.message
    if not problem:
        for name in ("iterations", "config"):
            if state.get(name) is None:
                state.pop(name, None)
        return state_here(state, run_dir), ""
    entries = read_log(run_dir)
    if not entries:
        raise HardStop(
            "missing_input",
            f"not a state of this loop: {problem}",
            file=path,
            fix="correct it if you wrote it yourself (pre-seeded weights), else delete it",
        )
    return rebuilt(run_dir, entries, problem, utc_now()), problem


def update_state(run_dir: str | Path, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Apply ``change`` to the state in place and write it whole. Unknown keys survive."""
    run_dir = Path(run_dir)
    with _lock(run_dir):
        state, problem = _state_of(run_dir)
        if problem:
            set_aside(run_dir / STATE_FILE, f"{problem}; made again from the log")
        state.setdefault("version", STATE_VERSION)
        state.setdefault("started_at", utc_now())
        state.setdefault("status", IN_PROGRESS)
        state.setdefault("iterations", {})
        change(state)
        _write(run_dir, state)
    return state


def _write(run_dir: Path, state: dict[str, Any]) -> None:
    if is_version_4(state):
        complete_version_4(state, run_dir, read_log(run_dir), utc_now())
    write_json_atomic(run_dir / STATE_FILE, state)


def update_phase(run_dir: str | Path, phase: str, **fields: Any) -> dict[str, Any]:
    """Set fields of ``iterations[phase]``; the first call fills the others with null.

    Raises ``ValueError`` for a field that the contract does not name.
    """
    unknown = sorted(set(fields) - set(PHASE_KEYS))
    if unknown:
        raise ValueError(f"deft_state.json has no phase field(s) {unknown}")

    def change(state: dict[str, Any]) -> None:
        if state["iterations"].get(phase) is None:
            state["iterations"][phase] = dict.fromkeys(PHASE_KEYS)
        state["iterations"][phase].update(fields)
        if phase.startswith("iter"):
            state["current_iteration"] = max(state.get("current_iteration") or 0, int(phase[4:]))

    return update_state(run_dir, change)


def read_log(run_dir: str | Path) -> list[dict[str, Any]]:
    """Return the log's entries; lines that cannot be read are left out (and kept, on writing)."""
    return read_lines(Path(run_dir) / LOG_FILE).entries


def log_stage(
    run_dir: str | Path,
    phase: str,
    stage: str,
    summary: str,
    *,
    status: str = "ok",
    duration_s: float = 0.0,
) -> dict[str, Any]:
    """Append one line for a finished stage and return it.

    ``seq`` is one more than the last on disk, taken under the lock.
    """
    if stage not in STAGES:
        raise ValueError(f"unknown stage {stage!r}; known: {STAGES}")
    run_dir = Path(run_dir)
    path = run_dir / LOG_FILE
    with _lock(run_dir):
        found = read_lines(path)
        entry = {
            "seq": found.next_seq,
            "ts": utc_now(),
            "iter": phase,
            "stage": stage,
            "status": status,
            "summary": summary,
            "duration_sec": round(duration_s),
            "context_tokens": 0,
        }
        append(path, found, entry)
        state, problem = _state_of(run_dir)
        if is_version_4(state) and not problem:
            _write(run_dir, state)
    return entry


def import_events(run_dir: str | Path, events: list[Any]) -> None:
    """Begin the log with the lines that another tool kept in its state; others are left out."""
    path = Path(run_dir) / LOG_FILE
    with _lock(Path(run_dir)):
        for event in events:
            if is_entry(event):
                append(path, read_lines(path), event)


def record_hard_stop(run_dir: str | Path, phase: str, stage: str, stop: HardStop) -> None:
    """Write a hard stop to the state and the log as ``status=error``."""

    def change(state: dict[str, Any]) -> None:
        state["status"] = FAILED
        own_part(state)["hard_stop"] = {"phase": phase, "stage": stage, **stop.as_dict()}
        if state["iterations"].get(phase) is not None:
            state["iterations"][phase]["status"] = FAILED

    update_state(run_dir, change)
    log_stage(run_dir, phase, stage, stop.text(), status="error")
