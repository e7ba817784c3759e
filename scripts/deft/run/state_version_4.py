"""What ``deft_state.json`` holds beside version 2's keys where it is written as version 4.

The newer form of NVIDIA's tools keeps the log's lines in the state (``events``), and each phase's
result under the run's ``metric_contract``. All of it is drawn from the run's own files whenever the
state is written, so that nothing is told twice.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from deft.core.airgap import air_gapped, offline
from deft.core.errors import HardStop
from deft.core.layout import BASELINE
from deft.core.reading import check_shape, read_json
from deft.run.state_format import COMPLETE, EVENTS_VERSION, FAILED, STATE_VERSION
from deft.settings.metric_contract import far_answer, parse_contract

RESULT_FILE = "metric_result.json"  # of a phase, where a command judges it
RUN_KEYS = ("metric_contract", "execution_policy", "events", "completed_at", "final_artifacts")
PHASE_KEYS_4 = ("training_spec", "mining_summary", "metric_result")
CONFIG_KEYS = ("mining_pool_csv", "mining_images_root", "resolved_mining_pool_csv", "gpu_model")


def execution_policy() -> dict[str, Any]:
    """Return what this environment allows of the network."""
    off = offline()
    return {
        "network_mode": "airgap" if off else "network-enabled",
        "activation_source": "environment" if off else "default",
        "allow_package_install": not off,
        "allow_remote_fetch": not off,
        "allow_container_pull": not off,
        "allow_registry_login": not air_gapped(),
        "python_executable": sys.executable,
        "hf_offline": off,
    }


def complete_version_4(
    state: dict[str, Any], run_dir: Path, events: list[dict[str, Any]], now: str
) -> None:
    """Add in place what version 4 has beside version 2. ``events``: the log's entries."""
    state["events"] = events
    for phase, entry in state["iterations"].items():
        if isinstance(entry, dict):
            _complete_phase(entry, run_dir / phase, state.get("metric_contract"))
    if state.get("status") not in (COMPLETE, FAILED):
        for name in ("completed_at", "final_artifacts"):
            state.pop(name, None)
        return
    state.setdefault("completed_at", now)
    made = {
        "best_model_json": run_dir / "best_model.json",
        "inference_spec": run_dir / "best_model_inference_spec.yaml",
    }
    if state["status"] == COMPLETE and all(path.is_file() for path in made.values()):
        state["final_artifacts"] = {k: os.path.abspath(path) for k, path in made.items()}


def as_version_2(state: dict[str, Any]) -> None:
    """Take out in place what only version 4 has; the log holds its events."""
    state["version"] = STATE_VERSION
    for name in RUN_KEYS:
        state.pop(name, None)
    for name in CONFIG_KEYS:
        state.get("config", {}).pop(name, None)
    for entry in filter(None, state.get("iterations", {}).values()):
        for name in PHASE_KEYS_4:
            entry.pop(name, None)


def is_version_4(state: dict[str, Any]) -> bool:
    """Return whether a state is kept in the newer form."""
    return state.get("version") == EVENTS_VERSION


def _complete_phase(entry: dict[str, Any], folder: Path, contract: Any) -> None:
    if entry.get("stage_completed") == "inference":
        entry["stage_completed"] = "train"  # it knows no stage between training and evaluation
    named = [("mining_summary", "mining_mined_parquet", "knn_summary.csv")]
    # A lap starts from trained weights and its spec names no backbone, which their hand-off asks
    # for: without the key it reads the user's own spec.
    if folder.name == BASELINE:
        named.append(("training_spec", "best_ckpt_path", "experiment.yaml"))
    for key, beside, name in named:
        path = Path(os.path.dirname(entry.get(beside) or ""), name)
        if path.is_absolute() and path.is_file():
            entry[key] = str(path)
    result = _result(folder, contract) if entry.get("far_pct") is not None else None
    if result is not None:
        entry["metric_result"] = result


def _result(folder: Path, contract: Any) -> dict[str, Any] | None:
    """Return a phase's result: of the command that judges it, else its FAR."""
    asked, metrics = folder / RESULT_FILE, folder / "metrics.json"
    point = {"recall_point": {"far_pct": float, "recall_pct": float}}
    try:
        if asked.is_file():
            told: dict[str, Any] = read_json(asked, {})
            return {**told, "evidence_path": os.path.abspath(asked)}
        found = read_json(metrics, {"chosen": str, "kinds": dict})
        kind = found["kinds"].get(found["chosen"])
    except HardStop:  # whoever needs the file stops for it
        return None
    if check_shape(kind, point):
        return None
    result = {**far_answer(kind["recall_point"]), "evidence_path": os.path.abspath(metrics)}
    with suppress(HardStop):  # a contract that cannot be read passes nothing and fails nothing
        if isinstance(contract, dict):
            kept = parse_contract(contract)
            result["passed"] = not kept.check(result) and not kept.failed(result)
    return result
