"""A run folder that NVIDIA's own DEFT AOI tools began, or a state that a person wrote by hand.

Until this project has passed its gate in the folder, the state there speaks for whoever wrote it:
its target, laps and settings count as if they stood in the configuration, and the weights of its
baseline are the baseline's. At the gate they are noted down in :data:`HANDOVER_FILE`, and what
stands in the way of this project's own files moves to :data:`KEPT_DIR`.
:mod:`deft.preflight.checks_handover` says what is taken and refuses what contradicts.

The Snakefile reads this module: no table is opened here.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deft.core.errors import HardStop
from deft.core.files import write_bytes_atomic, write_json_atomic
from deft.core.layout import BASELINE, MANIFEST_FILE
from deft.core.reading import check_shape, read_bytes, read_json
from deft.run.log_lines import read_lines
from deft.run.state import LOG_FILE, STATE_FILE, import_events, read_state, update_state
from deft.run.state_format import (
    GIVEN_WEIGHTS,
    IN_PROGRESS,
    PHASE_KEYS,
    STARTED,
    TRAINED_HERE,
    is_phase,
    own,
    own_part,
)
from deft.settings.config import resolve
from deft.settings.known import defaults
from deft.settings.kpi_target import KpiTarget, parse_kpi
from deft.settings.metric_contract import parse_contract

HANDOVER_FILE = "preflight/handover.json"
TELLING = ("kpi_target", "max_iterations", "metric_contract", "config", "iterations", BASELINE)
KEPT_DIR = "handover"  # of a run: what the other tools had made, as it was
TRAINED = ("train", "inference", "evaluate", "rca", "routing", "anomalygen", "data_mining")


@dataclass(frozen=True)
class Setting:
    """A setting that a state names: where it stands there, its own name, types, and one word."""

    place: tuple[str, ...]
    name: str
    kinds: tuple[type, ...]
    word: str | None = None


SETTINGS = (
    Setting(("max_iterations",), "max_iterations", (int,)),
    Setting(("config", "num_epochs"), "training_epochs", (int,)),
    Setting(("config", "mining_filter", "top_k_per_target"), "top_k_per_target", (int,)),
    Setting(("config", "mining_filter", "min_similarity"), "min_similarity", (int, float), "auto"),
    Setting(("config", "mining_filter", "history_aware", "enabled"), "mining_history", (bool,)),
)


def not_ours_yet(run_dir: str | Path) -> dict[str, Any]:
    """Return the state of a run that this project has not begun, ``{}`` when it has or none is."""
    state = read_state(run_dir)
    told = any(state.get(name) for name in TELLING)
    return state if told and not own(state).get(STARTED) else {}


def staged_elsewhere(run_dir: str | Path) -> dict[str, Any]:
    """Return the manifest of a pool that other tools staged in the run folder, else ``{}``.

    Also ``{}`` for one that cannot be read: who works with it stops for it.
    """
    path = Path(run_dir) / MANIFEST_FILE
    found: Any = {}
    with suppress(HardStop):
        found = read_json(path) if path.is_file() else {}
    return found if isinstance(found, dict) and "digests" not in found else {}


def settings_of(state: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that a state names.

    Raises HardStop ``config_invalid`` for a value of another type or a metric contract that is
    none, ``kpi_invalid`` for a target that cannot be read.
    """
    found: dict[str, Any] = {}
    contract = state.get("metric_contract")
    if isinstance(contract, dict) and _contract_target(contract) is None:
        found["metric_contract"] = parse_contract(contract).as_dict()  # FAR stands beside it
    elif sentence := kpi_of(state):
        found["kpi"] = sentence
    for one in SETTINGS:
        value: Any = state
        for part in one.place:
            value = value.get(part) if isinstance(value, dict) else None
        if value is None:
            continue
        known = isinstance(value, one.kinds) and (bool in one.kinds or not isinstance(value, bool))
        if not known and value != one.word:
            raise HardStop(
                "config_invalid",
                f"{'.'.join(one.place)} is {value!r}",
                file=STATE_FILE,
                fix="correct it there, or remove it and set " + one.name + " in the configuration",
            )
        found[one.name] = value
    return found


def kpi_of(state: dict[str, Any]) -> str:
    """Return the sentence of the target that a state names, ``""`` where it names none.

    A metric contract says more exactly what its sentence may leave out (the recall).
    """
    contract, sentence = state.get("metric_contract"), state.get("kpi_target")
    if isinstance(contract, dict) and (told := _contract_target(contract)):
        return _contract_sentence(told, sentence)
    if sentence in (None, ""):
        return ""
    if not isinstance(sentence, str):
        raise HardStop("kpi_invalid", f"kpi_target is {sentence!r}, no sentence", file=STATE_FILE)
    parse_kpi(sentence)
    return sentence


def _contract_sentence(told: KpiTarget, sentence: Any) -> str:
    """Return the sentence of a target on FAR, as it was written if it says the same."""
    if isinstance(sentence, str):
        with suppress(HardStop):
            if same_target(parse_kpi(sentence), told):
                return sentence
    return told.canonical()


def _contract_target(contract: dict[str, Any]) -> KpiTarget | None:
    if contract.get("name") != "far_pct" or contract.get("operator") not in ("<", "<="):
        return None
    recall: Any = 100.0
    with suppress(KeyError, TypeError):
        recall = contract["evaluator"]["parameters"]["recall_target_pct"]
    for one in contract.get("constraints") or []:
        named = check_shape(one, {"name": str, "operator": str}) == ""
        if not named or (one["name"], one["operator"]) != ("recall_pct", ">="):
            return None
        recall = one.get("target")
    if not isinstance(recall, int | float) or not 0 <= recall <= 100:
        return None
    told = {"far_max_pct": contract.get("target"), "min_recall": recall / 100}
    return KpiTarget.from_dict({**told, "strict": contract["operator"] == "<"})


def same_target(one: KpiTarget, other: KpiTarget) -> bool:
    """Return whether two sentences ask for the same."""
    return (one.far_max_pct, one.min_recall, one.strict) == (
        other.far_max_pct,
        other.min_recall,
        other.strict,
    )


def taken_settings(run_dir: str | Path) -> dict[str, Any]:
    """Return the settings that this run has from its hand-over; the pre-flight tells of damage."""
    noted = Path(run_dir) / HANDOVER_FILE
    with suppress(HardStop):
        state = not_ours_yet(run_dir)
        if state:
            return settings_of(state)
        if noted.is_file():
            kept: dict[str, Any] = read_json(noted, {"settings": dict})["settings"]
            return kept
    return {}


def with_taken(
    config: dict[str, Any], run_dir: str | Path, named_by_user: list[str]
) -> tuple[dict[str, Any], list[str]]:
    """Return the configuration with what the hand-over names, and the names that it changed.

    What the user set himself stays: the pre-flight compares the two. Raises HardStop
    ``config_invalid`` for a value out of range.
    """
    taken, standard = taken_settings(run_dir), defaults()
    free = {
        key: value
        for key, value in taken.items()
        if key in standard and key not in named_by_user and config[key] == standard[key]
    }
    try:
        return (resolve({**config, **free}), sorted(free)) if free else (config, [])
    except HardStop as stop:  # a value out of range: it does not stand in the configuration
        stop.file = str(Path(run_dir) / STATE_FILE)
        raise


def baseline_of(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state's entry of the baseline; NVIDIA's documents also put it at the top."""
    found = (state.get("iterations") or {}).get(BASELINE) or state.get(BASELINE)
    return found if isinstance(found, dict) else {}


def trained_laps(state: dict[str, Any]) -> list[str]:
    """Return the laps for which a state has weights."""
    return sorted(
        name
        for name, entry in (state.get("iterations") or {}).items()
        if name != BASELINE and is_phase(name) and (entry or {}).get("best_ckpt_path")
    )


def given_weights(run_dir: str | Path, workspace: str | Path) -> Path | None:
    """Return the model file that takes the place of the baseline's training, there or not.

    Whatever the other tools had done after that training is done again here from the same weights.
    """
    state = read_state(run_dir)
    ours, entry = own(state), baseline_of(state)
    if ours.get(TRAINED_HERE):
        return None
    if ours.get(GIVEN_WEIGHTS):
        return Path(ours[GIVEN_WEIGHTS])
    path, stage = entry.get("best_ckpt_path"), entry.get("stage_completed")
    further = stage in TRAINED and not ours.get(STARTED)
    if not path or not (stage == "train" or further):
        return None
    return kept_place(run_dir, Path(workspace) / Path(path).expanduser())


def kept_place(run_dir: str | Path, path: Path) -> Path:
    """Return where a file of the run lies: its place, or the one that it was moved to."""
    run_dir = Path(os.path.abspath(run_dir))
    with suppress(ValueError):
        moved = run_dir / KEPT_DIR / Path(os.path.abspath(path)).relative_to(run_dir)
        if not path.exists() and moved.exists():
            return moved
    return path


def take_over(run_dir: Path, workspace: Path) -> None:
    """Note down what is taken, and put aside what stands in the way of this project's files.

    Any step may have been made by an earlier command that was killed. A no-op for a run of ours.
    """
    state, pool = not_ours_yet(run_dir), staged_elsewhere(run_dir)
    if not state and not pool:
        return
    kept = run_dir / KEPT_DIR
    if state and not (kept / STATE_FILE).exists():
        write_bytes_atomic(kept / STATE_FILE, read_bytes(run_dir / STATE_FILE))
    if state:
        write_json_atomic(
            run_dir / HANDOVER_FILE, {"schema_version": 1, "settings": settings_of(state)}
        )
    phases = [p.name for p in run_dir.iterdir() if p.is_dir() and is_phase(p.name)]
    for name in [*(["synth_pool"] if pool else []), *(sorted(phases) if state else [])]:
        if (run_dir / name).is_dir() and not (kept / name).exists():
            kept.mkdir(exist_ok=True)
            shutil.move(run_dir / name, kept / name)
    if not state:
        return
    if not read_lines(run_dir / LOG_FILE).entries and isinstance(state.get("events"), list):
        import_events(run_dir, state["events"])
    weights = given_weights(run_dir, workspace)

    def change(now: dict[str, Any]) -> None:
        phases = {k: v for k, v in now["iterations"].items() if not is_phase(k)}
        if weights is not None and weights.is_file():
            path = os.path.abspath(weights)
            own_part(now)[GIVEN_WEIGHTS] = path
            phases[BASELINE] = {
                **dict.fromkeys(PHASE_KEYS),
                "status": IN_PROGRESS,
                "stage_completed": "train",
                "best_ckpt_path": path,
            }
        now.update(iterations=phases, current_iteration=0)
        now.pop(BASELINE, None)

    update_state(run_dir, change)
