"""The pre-flight of a sealed acceptance set: sound, in no other table, sealed, opened how often."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from acceptance_set import ACCEPTANCE, LIGHT, seal_acceptance, write_acceptance
from tiny_workspace import make_tiny_workspace

from deft.changenet.spec import load_spec
from deft.core.errors import HardStop
from deft.core.files import write_json_atomic
from deft.core.layout import SPEC, image_root
from deft.pool.digest import INPUTS_FILE, explain_changes, inputs_digest
from deft.preflight import checks_acceptance, checks_inputs, checks_pictures
from deft.preflight.check import STOP, WARN, Check, Context
from deft.record.openings import LEDGER_FILE, add_opening
from deft.settings.config import resolve
from deft.tables.changenet_table import read_table

OPENING = {
    "at": "2026-01-31T12:00:00Z",
    "run": "run_0",
    "phase": "iter1",
    "set_sha256": "0" * 64,
    "parts": [],
    "weights_sha256": "1" * 64,
    "threshold": 0.5,
    "outcome": "keep",
    "champion": "",
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    workspace = make_tiny_workspace(
        tmp_path_factory.mktemp("drawn") / "w", base=6, validation=6, kpi=6, pool=6, pregen=2
    )
    seal_acceptance(workspace, 8, 4)
    return workspace


@pytest.fixture
def workspace(drawn: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(drawn, tmp_path / "w"))


def looked_at(workspace: Path, run: str = "run_1", **config) -> dict[str, Check]:
    """Make the checks of this topic, and those that they build on; by id."""
    settings = resolve({"encoder": "changenet", "device": "cpu", **config})
    ctx = Context(workspace, workspace / "results" / run, settings, {}, lambda line: None)
    ctx.spec, ctx.image_root = load_spec(workspace / SPEC), image_root(workspace)
    for topic in (checks_inputs, checks_pictures):
        for _ in topic.checks(ctx):
            pass
    return {check.id: check for check in checks_acceptance.checks(ctx)}


def stop(workspace: Path, id: str = "acceptance", **config) -> HardStop:
    found = looked_at(workspace, **config)
    assert found[id].status == STOP, {k: c.evidence for k, c in found.items()}
    assert found[id].stop is not None
    return found[id].stop


def rows_of(workspace: Path, name: str) -> list[dict[str, str]]:
    return read_table(workspace / name).to_dict("records")


def test_a_word_for_a_good_part_stops_before_the_set_is_opened(workspace: Path) -> None:
    rows = rows_of(workspace, ACCEPTANCE)
    for row in rows[1:3]:
        row["label"] = "OK"
    write_acceptance(workspace, rows)
    stopped = stop(workspace)
    assert stopped.code == "csv_invalid" and stopped.rows == [3, 4]
    assert "'OK' (2 rows) would be taken for a defect" in stopped.message
    meant = looked_at(workspace, import_table={"labels": {"OK": "OK"}})
    assert meant["acceptance"].status == "ok"


def test_a_sound_set_passes(workspace: Path) -> None:
    found = looked_at(workspace)
    assert {c.status for c in found.values()} == {"ok"}, found
    tables = {id.removeprefix("leakage_acceptance_") for id in found if "leakage" in id}
    assert tables == {"base", "validation", "kpi", "pool", "pregen_ng", "pregen_ok"}
    assert "8 good parts, 4 defects" in found["acceptance"].evidence
    assert "from this pre-flight on" in found["acceptance_seal"].evidence


def test_without_a_set_nothing_is_said_and_no_approval_is_void(workspace: Path) -> None:
    sealed = inputs_digest(workspace, {})
    (workspace / ACCEPTANCE).unlink()
    assert looked_at(workspace) == {}
    without = inputs_digest(workspace, {})
    assert ACCEPTANCE not in without["inputs"]
    assert explain_changes(without, sealed) == [f"{ACCEPTANCE}: appeared"]


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("train/base/training_set.csv", "base"),
        ("train/base/validation_set.csv", "validation"),
        ("kpi/testing_set.csv", "kpi"),
    ],
)
def test_a_row_of_another_table_is_a_stop(workspace: Path, table: str, name: str) -> None:
    own, other = rows_of(workspace, ACCEPTANCE), rows_of(workspace, table)
    write_acceptance(workspace, [*own, other[2]])
    found = stop(workspace, f"leakage_acceptance_{name}")
    assert found.code == "leakage" and found.rows == [14]
    assert Path(str(found.file)).name == "acceptance_set.csv" and "same sample" in found.message


@pytest.mark.parametrize("allowed", ["stop", "warn"])
def test_a_picture_of_the_pool_is_a_stop_under_any_name(workspace: Path, allowed: str) -> None:
    own = rows_of(workspace, ACCEPTANCE)
    source = workspace / f"augmentation/mining_pool/images/R3001@1_{LIGHT}.png"
    target = workspace / f"kpi/images/acceptance/{own[5]['object_name']}_{LIGHT}.png"
    shutil.copy(source, target)
    found = stop(workspace, "leakage_acceptance_pool", content_leakage=allowed)
    assert found.code == "leakage" and found.rows == [7]
    assert "whatever content_leakage says" in str(found.fix)


def test_a_generated_picture_is_a_stop(workspace: Path) -> None:
    own = rows_of(workspace, ACCEPTANCE)
    folder = workspace / "augmentation/anomalygen/reconstructed_image"
    shutil.copy(
        sorted(folder.iterdir())[0],
        workspace / f"kpi/images/acceptance/{own[9]['object_name']}_{LIGHT}.png",
    )
    found = stop(workspace, "leakage_acceptance_pregen_ng")
    assert found.code == "leakage" and found.rows == [11]


def test_what_is_wrong_with_the_table_is_told_by_row(workspace: Path) -> None:
    own = rows_of(workspace, ACCEPTANCE)
    write_acceptance(workspace, [*own, own[0]])
    twice = stop(workspace)
    assert twice.code == "csv_invalid" and twice.rows == [14] and "stand twice" in twice.message
    write_acceptance(workspace, own[:8])
    assert stop(workspace).code == "kpi_invalid"
    write_acceptance(workspace, own)
    (workspace / f"kpi/images/acceptance/{own[3]['object_name']}_{LIGHT}.png").unlink()
    gone = stop(workspace)
    assert gone.code == "missing_input" and gone.rows == [5]
    write_acceptance(workspace, [{**own[0], "input_path": "../../../elsewhere"}, *own[1:]])
    assert stop(workspace).code == "path_escape"


def test_another_set_than_the_sealed_one_is_told_with_its_openings(workspace: Path) -> None:
    write_json_atomic(
        workspace / "results/run_0" / INPUTS_FILE, inputs_digest(workspace, {"seed": 0})
    )
    assert "sealed since run_0" in looked_at(workspace)["acceptance_seal"].evidence
    add_opening(workspace, OPENING)
    write_acceptance(workspace, rows_of(workspace, ACCEPTANCE)[:-1])
    seal = looked_at(workspace)["acceptance_seal"]
    assert seal.status == WARN and "another set than the one that run_0 sealed" in seal.evidence
    assert "opened 1 time(s), last 2026-01-31T12:00:00Z run_0: keep" in seal.evidence
    # The run's own pre-flight made again has the changed set; what was opened is not forgotten.
    again = inputs_digest(workspace, {"seed": 0})
    write_json_atomic(workspace / "results/run_0" / INPUTS_FILE, again)
    seal = looked_at(workspace)["acceptance_seal"]
    assert seal.status == WARN and "another set than the one that run_0 opened" in seal.evidence
    (workspace / LEDGER_FILE).write_text("{")
    assert stop(workspace, "acceptance_seal").code == "missing_input"


def test_a_champion_is_looked_at_before_the_run(workspace: Path) -> None:
    assert "neither" in stop(workspace, "champion", champion="nowhere").message
    assert "champion_spec is not set" in stop(workspace, "champion", champion=SPEC).message
    found = stop(workspace, "champion", champion=SPEC, champion_spec="gone.yaml")
    assert found.code == "missing_input" and str(found.file).endswith("gone.yaml")


def test_the_model_promoted_last_must_be_there_before_hours_of_laps(workspace: Path) -> None:
    assert "no model was promoted yet" in looked_at(workspace)["champion"].evidence
    add_opening(workspace, {**OPENING, "outcome": "promote"})
    gone = stop(workspace, "champion")
    assert gone.code == "missing_input" and "(run_0, iter1) is gone" in gone.message
    # What the run itself had promoted is no champion of its own.
    assert looked_at(workspace, "run_0")["champion"].status == "ok"
