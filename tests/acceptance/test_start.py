"""Going on from a promoted model: its weights, the rows that were mined for it, its refusals."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from tiny_workspace import make_tiny_workspace

from deft.assembly.assemble import assemble, first_combined
from deft.core.errors import HardStop
from deft.core.files import sha256_file, write_json_atomic
from deft.core.layout import BASE_TABLE, Run
from deft.kpi.promotion import PROMOTE
from deft.record.openings import add_opening
from deft.record.promoted_start import begin_from, start_of
from deft.run.handover import given_weights
from deft.run.state import update_state
from deft.run.state_format import STARTED, own_part
from deft.stages.context import Context
from deft.stages.run_tables import previous_table
from deft.tables.changenet_table import read_table, write_table

POOL = "augmentation/mining_pool/images"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return make_tiny_workspace(
        tmp_path / "w", base=6, validation=6, kpi=6, pool=6, pregen=2, defect_spec=False
    )


def mined(names: dict[str, str]) -> pd.DataFrame:
    """Mined rows as a lap's assembly takes them: name -> folder; those staged are synthetic."""
    return pd.DataFrame(
        [
            {
                "input_path": folder,
                "golden_path": "kpi/images/golden/pool",
                "label": "bridge",
                "object_name": name,
                "provenance": "sdg" if "synth_pool" in folder else "real",
            }
            for name, folder in names.items()
        ]
    )


def finish(workspace: Path, run: str, phase: str, *laps: dict[str, str], start=None) -> Run:
    """Write what a finished run leaves of its best phase: table, weights, hand-off, promotion."""
    at = Run(workspace, run)
    context = Context(at)
    table, provenance = previous_table(context, None, start)
    for number, names in enumerate(laps, 1):
        made = assemble(table, provenance, mined(names), number)
        table, provenance = made.table, made.provenance
        folder = at.phase(f"iter{number}") / "dataset"
        write_table(table, folder / f"train_combined_iter{number}.csv")
        write_table(provenance, folder / f"train_combined_iter{number}_provenance.csv")
    weights = at.phase(phase) / "train/m.pth"
    weights.parent.mkdir(parents=True, exist_ok=True)
    weights.write_bytes(run.encode())
    digest = sha256_file(weights)
    export = {
        "phase": phase,
        "weights": f"results/{run}/{phase}/train/m.pth",
        "weights_sha256": digest,
        "parity": {"at_safe_threshold": {"threshold": 0.5}},
    }
    write_json_atomic(at.best_model / "export.json", export)
    add_opening(
        workspace,
        {
            "at": "2026-01-31T12:00:00Z",
            "run": run,
            "phase": phase,
            "set_sha256": "0" * 64,
            "parts": [],
            "weights_sha256": digest,
            "threshold": 0.5,
            "outcome": PROMOTE,
            "champion": "",
        },
    )
    return at


def begun(workspace: Path, run: str, champion: str | None = None) -> Path:
    begin_from(workspace, workspace / "results" / run, champion)
    return workspace / f"results/{run}/start/start.json"


def named(rows: pd.DataFrame) -> list[str]:
    return rows["object_name"].tolist()


def test_rows_that_were_mined_come_along_week_after_week(workspace: Path) -> None:
    staged = "results/run_1/synth_pool/images/synth_ng"
    finish(workspace, "run_1", "iter2", {"R1": POOL, "S1": staged}, {"R2": POOL})
    record = begun(workspace, "run_2")
    context = Context(Run(workspace, "run_2"))
    table, provenance = previous_table(context, None, record)
    base = first_combined(read_table(workspace / BASE_TABLE), workspace)[0]
    assert named(table) == [*named(base), "R1", "S1", "R2"]
    assert provenance["source"].tolist() == ["base_train"] * 6 + ["previous_iter_train"] * 3
    assert provenance["provenance"].tolist()[6:] == ["real", "sdg", "real"]
    assert provenance["row"].tolist() == list(range(9))
    # What the earlier run staged is named where this one stages it.
    assert table["input_path"].tolist()[7] == "results/run_2/synth_pool/images/synth_ng"
    # The second week's own rows, and those before them, in the third.
    finish(workspace, "run_2", "iter1", {"R2": POOL, "R3": POOL}, start=record)
    third = begun(workspace, "run_3")
    table, _ = previous_table(Context(Run(workspace, "run_3")), None, third)
    assert named(table) == [*named(base), "R1", "S1", "R2", "R3"]
    assert given_weights(workspace / "results/run_3", workspace).read_bytes() == b"run_2"


def test_the_base_table_is_the_one_of_now(workspace: Path) -> None:
    finish(workspace, "run_1", "iter1", {"R1": POOL})
    rows = read_table(workspace / BASE_TABLE)
    write_table(rows.iloc[1:], workspace / BASE_TABLE)  # taken out by the user since
    table, provenance = previous_table(
        Context(Run(workspace, "run_2")), None, begun(workspace, "run_2")
    )
    assert named(table) == [*named(rows.iloc[1:]), "R1"]
    assert provenance["source"].tolist() == ["base_train"] * 5 + ["previous_iter_train"]


def test_a_promoted_baseline_brings_weights_alone(workspace: Path) -> None:
    finish(workspace, "run_1", "baseline")
    record = begun(workspace, "run_2")
    table, provenance = previous_table(Context(Run(workspace, "run_2")), None, record)
    assert len(table) == len(provenance) == 6
    assert given_weights(workspace / "results/run_2", workspace).read_bytes() == b"run_1"


def test_it_is_settled_once(workspace: Path) -> None:
    finish(workspace, "run_1", "iter1", {"R1": POOL})
    record = begun(workspace, "run_2")
    before = record.read_bytes()
    finish(workspace, "run_9", "baseline")  # promoted since
    assert begun(workspace, "run_2").read_bytes() == before
    record.unlink()  # lost with a failed job: the state knows
    assert begun(workspace, "run_2").read_bytes() == before


def test_a_model_file_from_elsewhere_brings_no_rows(workspace: Path, tmp_path: Path) -> None:
    file = tmp_path / "production.pth"
    file.write_bytes(b"weights")
    record = begun(workspace, "run_2", str(file))
    table, _ = previous_table(Context(Run(workspace, "run_2")), None, record)
    assert len(table) == 6
    assert given_weights(workspace / "results/run_2", workspace) == file
    update_state(workspace / "results/run_2", lambda s: own_part(s).update({STARTED: True}))
    assert start_of(workspace, workspace / "results/run_2", str(file)).weights == file


def test_refusals(workspace: Path) -> None:
    run = workspace / "results/run_2"
    with pytest.raises(HardStop, match="no model was promoted") as caught:
        start_of(workspace, run, None)
    assert caught.value.code == "missing_input" and "champion=" in str(caught.value.fix)
    at = finish(workspace, "run_1", "iter1", {"R1": POOL})
    (at.phase("iter1") / "dataset/train_combined_iter1.csv").unlink()
    with pytest.raises(HardStop, match="table that the promoted model was trained on is gone"):
        begin_from(workspace, run, None)
    assert not run.exists()
    (at.phase("iter1") / "train/m.pth").write_bytes(b"other")
    with pytest.raises(HardStop, match="others now"):
        start_of(workspace, run, None)
    update_state(run, lambda state: own_part(state).update({STARTED: True}))
    with pytest.raises(HardStop, match="began from its base table") as caught:
        start_of(workspace, run, None)
    assert caught.value.code == "config_invalid" and "run=new" in str(caught.value.fix)
