"""``deft_state.json`` and ``loop_log.jsonl``: the only module that writes either.

Both are written under one lock in the run folder, so that jobs which end at the same moment
neither lose an update nor share a sequence number.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from deft.errors import HardStop
from deft.files import read_json, write_json_atomic
from deft.roots import state_here

STATE_FILE = "deft_state.json"
LOG_FILE = "loop_log.jsonl"
LOCK_FILE = ".state.lock"
LOCK_TIMEOUT_S = 120
STATE_VERSION = 2
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


def utc_now() -> str:
    """Return the time in UTC as ``2026-01-31T12:00:00Z``."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _lock(run_dir: Path) -> FileLock:
    run_dir.mkdir(parents=True, exist_ok=True)
    return FileLock(run_dir / LOCK_FILE, timeout=LOCK_TIMEOUT_S)


def read_state(run_dir: str | Path) -> dict[str, Any]:
    """Return the state, or ``{}`` when there is none yet; its paths lie in this workspace.

    See :mod:`deft.roots`: a moved workspace goes on with its own files.
    """
    path = Path(run_dir) / STATE_FILE
    return state_here(read_json(path), run_dir) if path.exists() else {}


def update_state(run_dir: str | Path, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Apply ``change`` to the state in place and write it whole. Unknown keys survive."""
    run_dir = Path(run_dir)
    with _lock(run_dir):
        state = read_state(run_dir)
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
        entry = state["iterations"].setdefault(phase, dict.fromkeys(PHASE_KEYS))
        entry.update(fields)
        if phase.startswith("iter"):
            state["current_iteration"] = max(state.get("current_iteration") or 0, int(phase[4:]))

    return update_state(run_dir, change)


def read_log(run_dir: str | Path) -> list[dict[str, Any]]:
    """Return the log's entries; a last line cut off by a crash is left out."""
    path = Path(run_dir) / LOG_FILE
    if not path.exists():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return entries


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
        entries = read_log(run_dir)
        entry = {
            "seq": entries[-1]["seq"] + 1 if entries else 1,
            "ts": utc_now(),
            "iter": phase,
            "stage": stage,
            "status": status,
            "summary": summary,
            "duration_sec": round(duration_s, 3),
            "context_tokens": 0,
        }
        _drop_cut_line(path)
        with path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(entry, ensure_ascii=False) + "\n")
            handle.flush()
            os.fsync(handle.fileno())
    return entry


def _drop_cut_line(path: Path) -> None:
    # A crash in mid-write leaves a line without its end; the next one must not join it.
    if not path.exists():
        return
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        with path.open("r+b") as handle:
            handle.truncate(data.rfind(b"\n") + 1)


def record_hard_stop(run_dir: str | Path, phase: str, stage: str, stop: HardStop) -> None:
    """Write a hard stop to the state and the log as ``status=error``."""

    def change(state: dict[str, Any]) -> None:
        state["status"] = "failed"
        state["hard_stop"] = {"phase": phase, "stage": stage, **stop.as_dict()}
        if phase in state["iterations"]:
            state["iterations"][phase]["status"] = "failed"

    update_state(run_dir, change)
    log_stage(run_dir, phase, stage, stop.text(), status="error")
