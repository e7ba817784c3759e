"""A state made again from the run's log and records, for one that cannot be read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from deft.core.errors import CODES, HardStop
from deft.core.layout import CHECKS_FILE
from deft.core.reading import check_shape, read_json
from deft.run.roots import MOVED_FROM, birthplace
from deft.run.state_format import (
    COMPLETE,
    FAILED,
    IN_PROGRESS,
    MARKER_DIR,
    OWN,
    PHASE,
    PHASE_KEYS,
    SKIPPED,
    STARTED,
    STATE_VERSION,
    TRAINED_HERE,
    sentence_of,
)

PARAMETERS = (  # of the state, of the pre-flight, type
    ("max_iterations", "max_iterations", int),
    ("version", "state_version", int),
)


def rebuilt(run_dir: Path, entries: list[dict[str, Any]], why: str, now: str) -> dict[str, Any]:
    """Return a state from the log's entries: what each phase had completed, and whose weights.

    The run's own records say the rest: target, settings, figures, and where the workspace was.
    """
    ours: dict[str, Any] = {"rebuilt": {"at": now, "why": why, "log_entries": len(entries)}}
    state: dict[str, Any] = {
        "version": STATE_VERSION,
        "started_at": entries[0].get("ts"),
        "status": IN_PROGRESS,
        "iterations": {},
        "current_iteration": 0,
        OWN: ours,
        **_of_checks(run_dir, ours),
    }
    for entry in entries:
        phase, stage = entry["iter"], entry["stage"]
        if entry["status"] == "ok" and stage == "preflight":
            ours[STARTED] = True
        if entry["status"] != "ok" or not PHASE.fullmatch(phase) or stage == "loop_stop":
            continue
        kept = state["iterations"].setdefault(phase, dict.fromkeys(PHASE_KEYS))
        kept.update(status=IN_PROGRESS, stage_completed=stage)
        if phase.startswith("iter"):
            state["current_iteration"] = max(state["current_iteration"], int(phase[4:]))
        elif stage == "train" and not entry["summary"].startswith(SKIPPED):
            ours[TRAINED_HERE] = True
    for phase, kept in state["iterations"].items():
        kept.update(_of_files(run_dir, phase))
    last = entries[-1]
    if last["status"] == "error":
        state["status"] = FAILED
        stops = [e for e in entries if e["status"] == "error" and e["stage"] != "loop_stop"]
        ours["hard_stop"] = _stop_of(run_dir, (stops or [last])[-1])
    elif last["stage"] == "loop_stop":
        state["status"] = COMPLETE
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


def _of_checks(run_dir: Path, ours: dict[str, Any]) -> dict[str, Any]:
    """Return what the approved pre-flight still says of the run; more goes to ``ours``."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(run_dir)))
    found: dict[str, Any] = {"results_dir": os.path.abspath(run_dir)}
    born = birthplace(run_dir)
    if born is not None and born not in (root, os.path.realpath(root)):
        ours[MOVED_FROM] = [born]
    try:
        checks = read_json(
            run_dir / CHECKS_FILE,
            {"kpi_target": dict, "parameters": [{"name": str}]},
        )
    except HardStop:
        return found
    found["kpi_target"] = sentence_of(checks["kpi_target"])
    told = {one["name"]: one.get("value") for one in checks["parameters"]}
    for name, key, kind in PARAMETERS:
        if isinstance(told.get(key), kind):
            found[name] = told[key]
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
