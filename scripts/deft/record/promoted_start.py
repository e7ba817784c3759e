"""A run that goes on from a promoted model: its weights, and the rows that were mined for it.

The baseline of such a run is the promoted model; its training table is the user's base table as it
is now and, behind it, every row that was mined for that model, so that a grown pool adds to what
was learned. Both are settled once, at the run's gate, and kept in ``start/`` of the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deft.assembly.assemble import PROVENANCE_COLUMNS, read_provenance
from deft.core import layout
from deft.core.commands import again
from deft.core.errors import HardStop
from deft.core.files import read_json, sha256_file, write_json_atomic
from deft.core.layout import Run
from deft.mining.neighbours import part_keys
from deft.record.openings import best_model_of, last_promoted
from deft.run.state import read_state, update_state
from deft.run.state_format import GIVEN_WEIGHTS, STARTED, TRAINED_HERE, own, own_part
from deft.tables.changenet_table import in_contract_order, read_table, write_table
from deft.tables.sealed import TABLES, seals

CARRIED, CARRIED_PROVENANCE = "carried.csv", "carried_provenance.csv"
FROM = "promoted_start"  # of the state's own part: {"run", "weights"}, settled at the gate
RECORD = {"run": str, "phase": str, "weights": str, "weights_sha256": str}
EXPORT = {"phase": str, "weights": str, "weights_sha256": str}


@dataclass(frozen=True)
class Start:
    """What a run goes on from. ``run``: the earlier one, "" for a model file from elsewhere."""

    run: str
    phase: str
    weights: Path
    sha256: str


def start_of(workspace: Path, run_dir: Path, champion: str | None) -> Start:
    """Return the promoted model that a run goes on from; ``champion``: the setting.

    Raises HardStop ``missing_input`` where none is promoted, or what belongs to it is gone;
    ``config_invalid`` for a run that began otherwise.
    """
    record, ours = run_dir / layout.START_FILE, own(read_state(run_dir))
    if record.is_file():  # settled: what became of the earlier run matters no more
        told = read_json(record, RECORD)
        return Start(told["run"], told["phase"], Path(told["weights"]), told["weights_sha256"])
    settled = ours.get(FROM)
    if settled and settled["run"]:
        return _of_folder(workspace, workspace / "results" / settled["run"] / "best_model")
    if settled:
        return _of_champion(workspace, Path(settled["weights"]))
    if ours.get(STARTED) or ours.get(TRAINED_HERE):
        raise HardStop(
            "config_invalid",
            f"start=best counts when a run begins, and {run_dir.name} began from its base table",
            fix=f"begin another: {again('preflight', run='new', start='best')}",
        )
    if champion is not None:
        return _of_champion(workspace, workspace / Path(champion).expanduser())
    last = last_promoted(workspace, other_than=run_dir.name)
    if last is None:
        raise HardStop(
            "missing_input",
            "start=best, and no model was promoted in this workspace yet",
            fix="name the model in production: "
            + again("preflight", run="new", start="best", champion="results/run_…/best_model"),
        )
    return _of_folder(workspace, best_model_of(workspace, last))


def _of_champion(workspace: Path, path: Path) -> Start:
    if (path / "export.json").is_file():
        return _of_folder(workspace, path)
    if not path.is_file():
        raise HardStop(
            "missing_input",
            "start=best, and the champion is neither a best_model/ folder nor a model file",
            file=path,
            fix="correct champion, or leave it out: then the model promoted last is taken",
        )
    return Start("", "", path, sha256_file(path))


def _of_folder(workspace: Path, folder: Path) -> Start:
    record = folder / "export.json"
    export = read_json(record, EXPORT)
    weights = workspace / export["weights"]
    run = Path(export["weights"]).parts[1:2]
    if not weights.is_file() or sha256_file(weights) != export["weights_sha256"]:
        raise HardStop(
            "missing_input",
            f"the weights of the promoted model are {'others now' if weights.is_file() else 'gone'}"
            " (SHA-256 compared), and training cannot go on from its ONNX",
            file=weights,
            fix=f"restore the file: {again(export['weights'], run=run[0] if run else 'RUN')}",
        )
    return Start(run[0] if run else "", export["phase"], weights, export["weights_sha256"])


def begin_from(workspace: Path, run_dir: Path, champion: str | None) -> None:
    """Settle the start of a run at its gate: write ``start/`` and the baseline's weights.

    Nothing happens where that was done.
    """
    record = run_dir / layout.START_FILE
    if record.is_file():
        return
    start = start_of(workspace, run_dir, champion)
    table, provenance = carried_rows(Run(workspace, run_dir.name), start)
    write_table(table, record.with_name(CARRIED))
    write_table(provenance, record.with_name(CARRIED_PROVENANCE))
    rows = dict.fromkeys((CARRIED, CARRIED_PROVENANCE), len(table))
    content = {
        "schema_version": 1,
        "run": start.run,
        "phase": start.phase,
        "weights": str(start.weights),
        "weights_sha256": start.sha256,
        TABLES: seals(record.parent, rows),
    }

    def settle(state: dict[str, Any]) -> None:
        own_part(state)[FROM] = {"run": start.run, "weights": str(start.weights)}
        own_part(state)[GIVEN_WEIGHTS] = str(start.weights.absolute())

    update_state(run_dir, settle)
    write_json_atomic(record, content)


def carried_rows(run: Run, start: Start) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows that were mined for the promoted model, and their provenance.

    Pictures that an earlier run staged are named where this run stages them again.
    """
    before = Run(run.workspace, start.run)
    carried = before.dir / layout.START_FILE
    table, provenance = _read(
        carried.with_name(CARRIED), carried.with_name(CARRIED_PROVENANCE), run.workspace
    )
    if start.phase not in ("", layout.BASELINE):
        folder = before.phase(start.phase) / "dataset"
        name = f"train_combined_{start.phase}"
        if not (folder / f"{name}.csv").is_file():
            raise HardStop(
                "missing_input",
                f"the table that the promoted model was trained on is gone ({start.run})",
                file=folder / f"{name}.csv",
                fix="restore the run's folder: its rows would be forgotten",
            )
        known = set(part_keys(table))
        table, provenance = _read(
            folder / f"{name}.csv", folder / f"{name}_provenance.csv", run.workspace
        )
        mined = provenance["iteration"].to_numpy() > 0
        mined |= np.array([key in known for key in part_keys(table)], bool)
        table, provenance = table[mined], provenance[mined]
    staged = f"results/{start.run}/synth_pool/", f"results/{run.name}/synth_pool/"
    for column in ("input_path", "golden_path") if start.run else ():
        moved = [c.replace(*staged) if c.startswith(staged[0]) else c for c in table[column]]
        table = table.assign(**{column: moved})
    table = table.reset_index(drop=True)
    provenance = provenance.assign(
        row=range(len(table)), source="previous_iter_train", iteration=0
    ).reset_index(drop=True)
    return table, provenance


def _read(table: Path, provenance: Path, workspace: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    if not table.is_file():
        columns = list(in_contract_order(read_table(workspace / layout.BASE_TABLE)).columns)
        none = pd.DataFrame(columns=list(PROVENANCE_COLUMNS)).astype({"iteration": "int64"})
        return pd.DataFrame(columns=columns, dtype=str), none
    return read_table(table), read_provenance(provenance)
