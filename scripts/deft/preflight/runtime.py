"""How long a run will take, from the newest run of the workspace that got far enough."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from deft.core.durations import short_duration
from deft.core.errors import HardStop
from deft.core.layout import BASELINE, CHECKS_FILE, phase_name
from deft.core.reading import check_shape, read_json
from deft.run.state import read_log
from deft.settings.run_name import known_runs

SHAPE = {"parameters": [{"name": str}], "dataset": dict}
NEEDED = {"train", "inference", "evaluate"}  # of a phase that can be reckoned with
# What must be the same for one run's seconds to tell of another's.
COMPARED = (
    "engine",
    "device",
    "encoder",
    "embed_runtime",
    "compile",
    "backbone",
    "batch_size",
    "upstream_compat",
)


def estimate(
    workspace: Path, run_dir: Path, parameters: list[dict[str, Any]], dataset: dict[str, Any]
) -> str:
    """Return the summary's text: a duration and what it was reckoned from, or why it is unknown.

    Trainings count by epochs and rows of the training table, inference by rows of the KPI table;
    the other stages as they were.
    """
    wanted = {one["name"]: one["value"] for one in parameters}
    why = "no earlier run of this workspace has an evaluated lap"
    for name in reversed(known_runs(workspace)):
        run = workspace / "results" / name
        if run.absolute() == Path(run_dir).absolute():
            continue
        with suppress(HardStop):
            checks = read_json(run / CHECKS_FILE, SHAPE)
            seconds = stage_seconds(read_log(run))
            if not {BASELINE, phase_name(1)} <= set(seconds):
                continue
            told = {one["name"]: one.get("value") for one in checks["parameters"]}
            other = [key for key in COMPARED if told.get(key) != wanted.get(key)]
            if other:
                why = f"{name} had another {other[0]} ({told.get(other[0])})"
                continue
            total = _reckoned(seconds, _ratios(told, wanted, checks["dataset"], dataset), wanted)
            return f"about {short_duration(total)}, if no lap meets the target (from {name})"
    return f"unknown: {why}"


def stage_seconds(log: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return phase -> stage -> seconds of its last good end, of the phases evaluated there."""
    found: dict[str, dict[str, float]] = {}
    for entry in log:
        seconds = entry.get("duration_sec")
        if entry["status"] == "ok" and isinstance(seconds, int | float) and seconds >= 0:
            found.setdefault(entry["iter"], {})[entry["stage"]] = float(seconds)
    return {phase: stages for phase, stages in found.items() if set(stages) >= NEEDED}


def _ratios(
    told: dict[str, Any], wanted: dict[str, Any], then: Any, now: dict[str, Any]
) -> dict[str, float]:
    """Return by how much longer a training and an inference take than in the earlier run."""

    def ratio(new: Any, old: Any) -> float:
        known = all(isinstance(n, int | float) and n > 0 for n in (new, old))
        return float(new) / float(old) if known else 1.0

    def rows(tables: Any, name: str) -> Any:
        return None if check_shape(tables, {name: {"rows": int}}) else tables[name]["rows"]

    training = ratio(wanted.get("training_epochs"), told.get("training_epochs"))
    training *= ratio(rows(now, "base"), rows(then, "base"))
    return {"train": training, "inference": ratio(rows(now, "kpi"), rows(then, "kpi"))}


def _reckoned(
    seconds: dict[str, dict[str, float]], ratios: dict[str, float], wanted: dict[str, Any]
) -> float:
    def cost(phase: str) -> float:
        return sum(s * ratios.get(stage, 1.0) for stage, s in seconds[phase].items())

    laps = [cost(phase) for phase in seconds if phase.startswith("iter")]
    return cost(BASELINE) + int(wanted.get("max_iterations") or 0) * sum(laps) / len(laps)
