"""The form of ``deft_state.json``: its names, its words, and what an earlier version wrote.

NVIDIA's own tools read and write the file too. What they do not know lies under one key,
:data:`OWN`; every other key and word is theirs.
"""

from __future__ import annotations

import re
from typing import Any

from deft.core.reading import check_shape
from deft.settings.kpi_target import KpiTarget

STATE_VERSION = 2
EVENTS_VERSION = 4  # the newer form of NVIDIA's tools: see deft.run.state_version_4
OWN = "native"
IN_PROGRESS, COMPLETE, FAILED = "in_progress", "complete", "failed"
STARTED = "started_here"  # of OWN: the gate was passed, what the state tells of the run is ours
TRAINED_HERE = "baseline_trained_here"  # of OWN
GIVEN_WEIGHTS = "given_baseline_weights"  # of OWN: the model file that the baseline's was taken of
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
MARKER_DIR = "hard_stops"  # of a run: the stop of each stage that has one
SKIPPED = "skipped: "  # how the log tells that the baseline's weights were given
PHASE = re.compile(r"baseline|iter[1-9][0-9]*")
# Of what others may have written: names that are read, with the types that they must have.
NOTHING = type(None)
STATE_SHAPE = {
    "status": str,
    "started_at": (str, NOTHING),
    "current_iteration": (int, NOTHING),
    "iterations": (dict, NOTHING),
    "config": (dict, NOTHING),
}
STOP_SHAPE = {"code": str, "message": str, "phase": str, "stage": str}
CONFIG_PATHS = ("specs_file", "training_csv", "validation_csv", "kpi_test_csv", "images_dir")
PHASE_TEXTS = ("status", "stage_completed", "best_ckpt_path")
# What this project's earlier versions wrote: keys beside NVIDIA's, and other words.
ONCE_ABOVE = ("hard_stop", "moved_from", TRAINED_HERE, "rebuilt", "stop_reason")
ONCE_SAID = {"running": IN_PROGRESS, "completed": COMPLETE}


def is_phase(name: str) -> bool:
    """Return whether a name is that of a phase: ``baseline``, ``iter1``, …"""
    return PHASE.fullmatch(name) is not None


def own(state: dict[str, Any]) -> dict[str, Any]:
    """Return what only this project knows of a run, to be read."""
    found = state.get(OWN)
    return found if isinstance(found, dict) else {}


def own_part(state: dict[str, Any]) -> dict[str, Any]:
    """Return the same, to be written to."""
    found: dict[str, Any] = state.setdefault(OWN, {})
    return found


def modern(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state in the present form, whatever version of this project wrote it."""
    out = {key: value for key, value in state.items() if key not in ONCE_ABOVE}
    kept = {key: state[key] for key in ONCE_ABOVE if key in state}
    target = state.get("kpi_target")
    if isinstance(target, dict):  # only this project wrote it so, at its gate
        out["kpi_target"] = sentence_of(target)
        kept[STARTED] = True
    if kept:
        out[OWN] = {**kept, **own(state)}
    if isinstance(state.get("status"), str):
        out["status"] = ONCE_SAID.get(state["status"], state["status"])
    phases = state.get("iterations")
    if isinstance(phases, dict):
        out["iterations"] = {name: _modern_phase(entry) for name, entry in phases.items()}
    return out


def sentence_of(target: dict[str, Any]) -> str:
    """Return the user's sentence of a target's recorded parts, or ``""``."""
    read = KpiTarget.from_dict(target)
    return "" if read is None else read.sentence or read.canonical()


def _modern_phase(entry: Any) -> Any:
    if not isinstance(entry, dict) or not isinstance(entry.get("status"), str):
        return entry
    return {**entry, "status": ONCE_SAID.get(entry["status"], entry["status"])}


def state_problem(state: Any) -> str:
    """Return what keeps ``state`` from being one, or ``""``; unknown keys may hold anything."""
    problem = check_shape(state, {})
    if problem:
        return problem
    wanted = {name: kinds for name, kinds in STATE_SHAPE.items() if name in state}
    problem = check_shape(state, wanted)
    config, ours = state.get("config") or {}, state.get(OWN)
    if not problem and ours is not None:
        problem = check_shape(ours, {}, OWN)
    stop = own(state).get("hard_stop")
    if not problem and stop is not None:
        problem = check_shape(stop, STOP_SHAPE, f"{OWN}.hard_stop")
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
