"""One approval for one digest, only of a summary that an earlier command printed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tiny_workspace import make_tiny_workspace

from deft.core.errors import HardStop
from deft.core.layout import POOL_TABLE
from deft.pool.digest import pool_prefix
from deft.preflight.approval import approve, gate
from deft.preflight.run import run_preflight
from deft.settings.config import resolve

pytestmark = pytest.mark.long

CONFIG = {"encoder": "changenet", "device": "cpu"}
SCRIPTS = Path(__file__).parents[2] / "scripts"
ROW = "images/R3000@1_SolderLight.png,golden/pool,bridge,R3000@1,,line1,,,,,,,,\n"


@pytest.fixture
def place(tmp_path):
    workspace = make_tiny_workspace(tmp_path, base=4, validation=3, kpi=6, pool=6, pregen=2)
    return workspace, workspace / "results/run_1"


def call(function, place, **config):
    lines: list[str] = []
    full = resolve({**CONFIG, **config})
    return function(*place, full, sources={}, log=lines.append), "\n".join(lines)


def refused(function, place, **config) -> HardStop:
    with pytest.raises(HardStop) as caught:
        call(function, place, **config)
    return caught.value


def approval(place) -> dict:
    return json.loads((place[1] / "preflight/approval.json").read_text())


def append(place) -> None:
    with (place[0] / POOL_TABLE).open("a") as handle:
        handle.write(ROW.replace("R3000@1", "R4000@1"))
    for folder in ("augmentation/mining_pool/images", "kpi/images/golden/pool"):
        new = place[0] / folder / "R4000@1_SolderLight.png"
        Image.effect_noise((32, 32), 80).convert("RGB").save(new)


def test_gate_without_approval_touches_only_preflight(place):
    error = refused(gate, place)
    assert error.code == "approval_missing" and "snakemake approve" in str(error)
    assert [p.name for p in place[1].iterdir()] == ["preflight"]
    assert not (place[1] / "preflight/gate.json").exists()


def test_approve_needs_an_earlier_summary(place):
    error = refused(approve, place)
    assert error.code == "approval_missing"
    assert not (place[1] / "preflight/approval.json").exists()
    call(approve, place)
    assert approval(place)["approved_by"] == "user"
    passed, _ = call(gate, place)
    assert passed["approved_by"] == "user" and passed["digest"] == approval(place)["digest"]


def test_preflight_or_the_gate_count_as_earlier(place):
    call(run_preflight, place)
    call(approve, place)
    (place[1] / "preflight/approval.json").unlink()
    refused(gate, place)
    call(approve, place)


def test_changed_parameter_voids_and_is_named(place):
    call(run_preflight, place)
    call(approve, place)
    error = refused(gate, place, top_k_per_target=7)
    assert error.code == "approval_missing"
    assert "top_k_per_target: 5 → 7" in str(error)
    # What was approved is still approved once the parameter is back.
    call(gate, place)


def test_approve_after_a_change_prints_first(place):
    call(run_preflight, place)
    error = refused(approve, place, seed=5)
    assert "seed: 0 → 5" in str(error)
    call(approve, place, seed=5)


def test_config_approval_is_recorded_as_such(place):
    passed, _ = call(gate, place, approve=True)
    assert passed["approved_by"] == "config"
    assert approval(place)["approved_by"] == "config"


def test_config_approval_never_passes_a_stop(place):
    (place[0] / "kpi/testing_set.csv").unlink()
    assert refused(gate, place, approve=True).code == "missing_input"
    assert not (place[1] / "preflight/approval.json").exists()


def test_a_stop_forbids_approval_until_it_is_mended(place):
    picture = place[0] / "kpi/images/kpi/kpi0/C2000@1_SolderLight.png"
    kept = picture.read_bytes()
    picture.write_bytes(b"")
    assert refused(run_preflight, place).code == "image_invalid"
    assert refused(approve, place).code == "image_invalid"
    picture.write_bytes(kept)
    assert refused(approve, place).code == "approval_missing"  # shown now for the first time
    call(approve, place)


def test_pool_growth_keeps_the_approval_and_the_rows_of_the_run(place):
    call(run_preflight, place)
    call(approve, place)
    size = (place[0] / POOL_TABLE).stat().st_size
    append(place)
    call(gate, place)
    assert pool_prefix(place[1]) == size
    # A later look at the checks keeps the run's rows too.
    call(run_preflight, place)
    assert pool_prefix(place[1]) == size
    call(gate, place)


def test_pool_growth_before_the_approval_is_taken_by_the_next_preflight(place):
    call(run_preflight, place)
    append(place)
    (place[0] / "augmentation/mining_pool/images/R4000@1_SolderLight.png").write_bytes(b"")
    assert refused(run_preflight, place).code == "image_invalid"


def test_edited_pool_row_voids(place):
    call(run_preflight, place)
    call(approve, place)
    table = place[0] / POOL_TABLE
    table.write_text(table.read_text().replace("bridge", "missing", 1))
    append(place)
    error = refused(gate, place)
    assert pool_prefix(place[1]) == table.stat().st_size  # a new start takes all rows
    assert error.code == "approval_missing" and "edited or removed" in str(error)
    call(approve, place)
    call(gate, place)


def test_gate_is_the_same_file_twice(place):
    call(gate, place, approve=True)
    first = (place[1] / "preflight/gate.json").read_bytes()
    call(gate, place, approve=True)
    assert (place[1] / "preflight/gate.json").read_bytes() == first


def script(name: str, place, *arguments: str) -> subprocess.CompletedProcess:
    config = json.dumps(CONFIG)
    command = [sys.executable, str(SCRIPTS / name), "--workspace", str(place[0])]
    command += ["--run-dir", str(place[1]), "--config-json", config, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_commands_in_the_users_order(place):
    first = script("gate.py", place)
    assert first.returncode == 1
    assert "approval_missing" in first.stderr and "Traceback" not in first.stderr
    assert "Pre-Flight Summary" in first.stdout
    assert not (place[1] / "loop_log.jsonl").exists()
    assert script("approve.py", place).returncode == 0
    second = script("gate.py", place)
    assert second.returncode == 0, second.stderr
    assert script("gate.py", place).returncode == 0
    log = (place[1] / "loop_log.jsonl").read_text().splitlines()
    assert [(json.loads(e)["iter"], json.loads(e)["status"]) for e in log] == [("preflight", "ok")]


def test_a_stop_is_one_message_in_state_and_log(place):
    (place[0] / POOL_TABLE).unlink()
    done = script("preflight.py", place)
    assert done.returncode == 1
    assert "pool_missing" in done.stderr and "Traceback" not in done.stderr
    assert json.loads((place[1] / "deft_state.json").read_text())["status"] == "failed"
    entry = json.loads((place[1] / "loop_log.jsonl").read_text())
    assert (entry["stage"], entry["status"]) == ("preflight", "error")


def test_a_new_run_becomes_the_current_one(place):
    assert script("preflight.py", place).returncode == 0
    assert (place[0] / "results/current_run").read_text().strip() == "run_1"


def test_configuration_may_come_from_the_environment(place, monkeypatch):
    monkeypatch.setenv("DEFT_CONFIG", json.dumps({**CONFIG, "seed": 3}))
    monkeypatch.setenv("DEFT_USER_KEYS", "max_iterations")
    command = [sys.executable, str(SCRIPTS / "preflight.py"), "--workspace", "."]
    command += ["--run-dir", "results/run_1", "--log", "results/run_1/logs/preflight.log"]
    done = subprocess.run(command, cwd=place[0], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    content = json.loads((place[1] / "preflight/checks.json").read_text())
    shown = {p["name"]: (p["value"], p["source"]) for p in content["parameters"]}
    assert shown["seed"] == (3, "user") and shown["max_iterations"] == (3, "user")
    assert "Pre-Flight Summary" in (place[1] / "logs/preflight.log").read_text()


def test_an_unknown_key_is_one_line(place):
    done = script("preflight.py", place, "--config-json", '{"top_k": 3}')
    assert done.returncode == 1
    assert "config_invalid" in done.stderr and "top_k" in done.stderr
