"""Another picture under an old name is told by the pre-flight, and asks for the approval again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_workspace import make_tiny_workspace

from deft.pool import digest
from deft.pool.replaced import REPLACED_FILE, digest_of_tables, replaced
from deft.preflight.approval import approve, gate
from deft.preflight.checks_replaced import SEEN_FILE
from deft.preflight.run import run_preflight
from deft.settings.config import resolve

CONFIG = {"encoder": "changenet", "device": "cpu"}
KPI = "kpi/images/kpi/kpi1/C2001@1_SolderLight.png"
GOLDEN = "kpi/images/golden/kpi1/C2001@1_SolderLight.png"
POOL = "augmentation/mining_pool/images/R3001@1_SolderLight.png"


@pytest.fixture
def workspace(tmp_path):
    return make_tiny_workspace(tmp_path / "w", base=6, validation=6, kpi=6, pool=6, pregen=2)


def look(workspace: Path, **config) -> dict[str, dict]:
    settings = resolve({**CONFIG, **config})
    run_preflight(workspace, workspace / "results/run_1", settings, sources={}, log=str)
    found = json.loads((workspace / "results/run_1/preflight/checks.json").read_text())
    return {c["id"]: c for c in found["checks"] if c["id"].startswith("replaced_pictures")}


def passed(workspace: Path) -> Path:
    """Look, approve, and pass the gate; return the run's folder."""
    run, settings = workspace / "results/run_1", resolve(CONFIG)
    look(workspace)
    approve(workspace, run, settings, sources={}, log=str)
    gate(workspace, run, settings, sources={}, log=str)
    return run


def turn(path: Path) -> None:
    with Image.open(path) as picture:
        picture.rotate(180).save(path)


def changes(workspace: Path, run: Path) -> list[str]:
    return digest.changes_since_gate(workspace, run, resolve(CONFIG))


def test_before_the_gate_each_look_is_the_first(workspace):
    look(workspace)
    turn(workspace / KPI)
    check = look(workspace)["replaced_pictures"]
    assert check["status"] == "ok" and "pictures noted" in check["evidence"]
    assert replaced(workspace / "results/run_1") == {}


def test_what_was_replaced_is_told_with_its_rows(workspace):
    run = passed(workspace)
    assert changes(workspace, run) == [] and list(look(workspace)) == ["replaced_pictures"]
    turn(workspace / GOLDEN)
    check = look(workspace)["replaced_pictures:kpi"]
    assert check["status"] == "warn" and "the inference runs again" in check["fix"]
    assert "1 picture(s) of kpi/testing_set.csv are not those" in check["evidence"]
    assert f"row 3, first {GOLDEN}" in check["evidence"]
    (told,) = changes(workspace, run)
    assert told == "pictures: 1 of kpi/testing_set.csv are not those that the run began with"
    assert digest_of_tables(run, "base") == "" != digest_of_tables(run, "base", "kpi")


def test_the_same_again_stays_approved_and_the_earlier_ones_may_come_back(workspace):
    run = passed(workspace)
    earlier = (workspace / KPI).read_bytes()
    turn(workspace / KPI)
    look(workspace)
    first = digest_of_tables(run, "kpi")
    approve(workspace, run, resolve(CONFIG), sources={}, log=str)
    gate(workspace, run, resolve(CONFIG), sources={}, log=str)
    look(workspace)
    assert changes(workspace, run) == [] and digest_of_tables(run, "kpi") == first
    (workspace / KPI).write_bytes(earlier)
    assert look(workspace)["replaced_pictures"]["status"] == "ok"
    assert changes(workspace, run) == ["pictures: those that the run began with are back"]


def test_the_pool_is_named_and_nothing_of_it_runs_by_itself(workspace):
    passed(workspace)
    turn(workspace / POOL)
    check = look(workspace)["replaced_pictures:pool"]
    assert "begin a new run" in check["fix"]


def test_further_rows_and_other_names_replace_nothing(workspace):
    passed(workspace)
    table = workspace / "kpi/testing_set.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(lines[:-1]) + "\n")
    assert list(look(workspace)) == ["replaced_pictures"]


def test_another_full_scale_is_no_replacement(workspace):
    run = passed(workspace)
    check = look(workspace, picture_levels=4095)["replaced_pictures"]
    assert "noted" in check["evidence"] and replaced(run) == {}


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive", b"text"])
def test_a_damaged_note_is_made_anew(workspace, damage):
    run = passed(workspace)
    (run / SEEN_FILE).write_bytes(damage)
    assert look(workspace)["replaced_pictures"]["status"] == "ok"
    with np.load(run / SEEN_FILE, allow_pickle=False) as made:
        assert len(made["names"]) == len(made["prints"]) > 0
    (run / REPLACED_FILE).write_bytes(damage)
    assert replaced(run) == {}


def test_a_broken_picture_changes_no_note(workspace):
    run = passed(workspace)
    turn(workspace / KPI)
    look(workspace)
    told = (run / REPLACED_FILE).read_bytes()
    (workspace / GOLDEN).write_bytes(b"no picture")
    with pytest.raises(Exception, match="golden picture"):
        look(workspace)
    assert (run / REPLACED_FILE).read_bytes() == told
