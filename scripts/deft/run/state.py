"""``deft_state.json`` and ``loop_log.jsonl``: the only module that writes either.

Both are written under one lock in the run folder, so that jobs which end at the same moment
neither lose an update nor share a sequence number.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from deft.core.commands import resume
from deft.core.errors import CODES, HardStop, StageFailed
from deft.core.files import write_json_atomic
from deft.core.reading import check_shape, may_read, read_json, set_aside
from deft.run.log_lines import append, read_lines
from deft.run.roots import MOVED_FROM, birthplace, state_here

STATE_FILE = "deft_state.json"
LOG_FILE = "loop_log.jsonl"
LOCK_FILE = ".state.lock"
LOCK_TIMEOUT_S = 120
STATE_VERSION = 2
MARKER_DIR = "hard_stops"  # of a run: the stop of each stage that has one
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
PHASE_KEYS = (
    "status",
    "stage_completed",
    "best_ckpt_path",
    "best_ckpt_kind",
    "far_pct",
    "threshold",
    "val_loss",
    "inference_csv",
    "rca_target_defects",
    "rca_gaps_parquet",
    "rca_threshold",
    "routing_mining_parquet",
    "routing_anomalygen_parquet",
    "anomalygen_ingest",
    "mining_mined_parquet",
    "mining_mined_count",
    "combined_training_csv",
    "provenance_csv",
)
# Of what others may have written: names that are read, with the types that they must have.
NOTHING = type(None)
STATE_SHAPE = {
    "status": str,
    "started_at": (str, NOTHING),
    "current_iteration": (int, NOTHING),
    "iterations": (dict, NOTHING),
    "config": (dict, NOTHING),
    "hard_stop": (dict, NOTHING),
}
STOP_SHAPE = {"code": str, "message": str, "phase": str, "stage": str}
CONFIG_PATHS = ("specs_file", "training_csv", "validation_csv", "kpi_test_csv", "images_dir")
PHASE_TEXTS = ("status", "stage_completed", "best_ckpt_path")
PHASE = re.compile(r"baseline|iter[1-9][0-9]*")
SKIPPED = "skipped: "  # how the log tells that the baseline's weights were given


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
    return rebuilt(run_dir, entries, problem), problem


def state_problem(state: Any) -> str:
    """Return what keeps ``state`` from being one, or ``""``; unknown keys may hold anything."""
    problem = check_shape(state, {})
    if problem:
        return problem
    wanted = {name: kinds for name, kinds in STATE_SHAPE.items() if name in state}
    problem = check_shape(state, wanted)
    stop, config = state.get("hard_stop"), state.get("config") or {}
    if not problem and stop is not None:
        problem = check_shape(stop, STOP_SHAPE, "hard_stop")
    if not problem:
        held = {name: (str, NOTHING) for name in CONFIG_PATHS if name in config}
        problem = check_shape(config, held, "config")
    for phase, entry in ((state.get("iterations") or {}) if not problem else {}).items():
        if entry is not None and not problem:
            where = f"iterations.{phase}"
            problem = check_shape(entry, {}, where)
            if not problem:
                held = {name: (str, NOTHING) for name in PHASE_TEXTS if name in entry}
                problem = check_shape(entry, held, where)
    return problem


def rebuilt(run_dir: Path, entries: list[dict[str, Any]], why: str) -> dict[str, Any]:
    """Return a state from the log's entries: what each phase had completed, and whose weights.

    The run's own records say the rest: target, settings, figures, and where the workspace was.
    """
    state: dict[str, Any] = {
        "version": STATE_VERSION,
        "started_at": entries[0].get("ts"),
        "status": "running",
        "iterations": {},
        "current_iteration": 0,
        "rebuilt": {"at": utc_now(), "why": why, "log_entries": len(entries)},
        **_of_checks(run_dir),
    }
    for entry in entries:
        phase, stage = entry["iter"], entry["stage"]
        if entry["status"] != "ok" or not PHASE.fullmatch(phase):
            continue
        if stage == "loop_stop":
            continue
        kept = state["iterations"].setdefault(phase, dict.fromkeys(PHASE_KEYS))
        kept.update(status="running", stage_completed=stage)
        if phase.startswith("iter"):
            state["current_iteration"] = max(state["current_iteration"], int(phase[4:]))
        elif stage == "train" and not entry["summary"].startswith(SKIPPED):
            state["baseline_trained_here"] = True
    for phase, kept in state["iterations"].items():
        kept.update(_of_files(run_dir, phase))
    last = entries[-1]
    if last["status"] == "error":
        state["status"] = "failed"
        stops = [e for e in entries if e["status"] == "error" and e["stage"] != "loop_stop"]
        state["hard_stop"] = _stop_of(run_dir, (stops or [last])[-1])
    elif last["stage"] == "loop_stop":
        state["status"] = "completed"
    return state


def _stop_of(run_dir: Path, entry: dict[str, Any]) -> dict[str, Any]:
    """Return a hard stop as its stage left it, or what its line in the log still says."""
    phase, stage = entry["iter"], entry["stage"]
    try:
        stop = HardStop.from_dict(read_json(run_dir / MARKER_DIR / f"{phase}_{stage}.json"))
    except (HardStop, ValueError):
        code, _, message = entry["summary"].partition(": ")
        known = code in CODES
        stop = HardStop(code if known else "missing_input", message if known else entry["summary"])
    return {"phase": phase, "stage": stage, **stop.as_dict()}


def _of_checks(run_dir: Path) -> dict[str, Any]:
    """Return what the approved pre-flight still says of the run as a whole."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(run_dir)))
    found: dict[str, Any] = {"results_dir": os.path.abspath(run_dir)}
    born = birthplace(run_dir)
    if born is not None and born not in (root, os.path.realpath(root)):
        found[MOVED_FROM] = [born]
    try:
        checks = read_json(
            run_dir / "preflight/checks.json",
            {"kpi_target": dict, "parameters": [{"name": str}]},
        )
    except HardStop:
        return found
    found["kpi_target"] = checks["kpi_target"]
    for one in checks["parameters"]:
        if one["name"] == "max_iterations" and isinstance(one.get("value"), int):
            found["max_iterations"] = one["value"]
    return found


def _of_files(run_dir: Path, phase: str) -> dict[str, Any]:
    """Return what a phase's own files still say of its weights and its FAR."""
    folder = Path(os.path.abspath(run_dir)) / phase
    point = {"threshold": float, "far_pct": float}
    shape = {"chosen": str, "kinds": dict, "weights": {"path": str}}
    try:
        metrics = read_json(folder / "metrics.json", shape)
        kind = metrics["chosen"]
        found = metrics["kinds"].get(kind)
        if check_shape(found, {"recall_point": point}):
            return {}
    except HardStop:
        return {}
    return {
        "best_ckpt_path": str(folder / metrics["weights"]["path"]),
        "best_ckpt_kind": kind,
        "val_loss": metrics["weights"].get("val_loss"),
        "inference_csv": str(folder / "inference" / kind / "inference.csv"),
        **{name: found["recall_point"][name] for name in point},
    }


def update_state(run_dir: str | Path, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Apply ``change`` to the state in place and write it whole. Unknown keys survive."""
    run_dir = Path(run_dir)
    with _lock(run_dir):
        state, problem = _state_of(run_dir)
        if problem:
            set_aside(run_dir / STATE_FILE, f"{problem}; made again from the log")
        state.setdefault("version", STATE_VERSION)
        state.setdefault("started_at", utc_now())
        state.setdefault("status", "running")
        state.setdefault("iterations", {})
        change(state)
        write_json_atomic(run_dir / STATE_FILE, state)
    return state


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
            "duration_sec": round(duration_s, 3),
            "context_tokens": 0,
        }
        append(path, found, entry)
    return entry


def record_hard_stop(run_dir: str | Path, phase: str, stage: str, stop: HardStop) -> None:
    """Write a hard stop to the state and the log as ``status=error``."""

    def change(state: dict[str, Any]) -> None:
        state["status"] = "failed"
        state["hard_stop"] = {"phase": phase, "stage": stage, **stop.as_dict()}
        if state["iterations"].get(phase) is not None:
            state["iterations"][phase]["status"] = "failed"

    update_state(run_dir, change)
    log_stage(run_dir, phase, stage, stop.text(), status="error")
