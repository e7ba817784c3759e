"""AIR_GAPPED=1: no connection is tried, and all that is missing is told at once."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from guarded import attempts, guarded
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from platform_rules import rules_by_family
from tiny_workspace import make_tiny_workspace
from workflow_tools import snakemake_command, working_folder

from deft.core import airgap
from deft.core.errors import HardStop
from deft.core.layout import SPEC
from deft.doctor import measure
from deft.preflight.run import run_preflight
from deft.run.staging import named_weights
from deft.settings.config import resolve
from deft.settings.environments import FAMILIES, table

pytestmark = pytest.mark.long

ASK_THE_HUB = (
    "import deft\nfrom huggingface_hub import hf_hub_download, get_session\n"
    "for ask in (\n"
    "    lambda: hf_hub_download('timm/ViT-B-16-SigLIP', 'open_clip_config.json'),\n"
    "    lambda: get_session().get('https://huggingface.co'),\n"
    "):\n"
    "    try:\n        ask()\n"
    "    except Exception as error:\n        print(type(error).__name__)\n"
)
# The library tries again and again: one try is enough to see that the guard sees it.
ASK_ONCE = ASK_THE_HUB.replace("    lambda: hf_hub_download", "    # lambda: hf_hub_download")


def python(code: str, env: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("switch", [airgap.OWN, airgap.HUB])
def test_each_switch_keeps_the_hub_library_from_trying(tmp_path, switch):
    cache = {"HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HOME": str(tmp_path / "home")}
    log = tmp_path / "open.log"
    said = python(ASK_ONCE, guarded(log, **cache))
    assert attempts(log), f"the guard saw nothing, so it would see nothing below: {said}"
    log = tmp_path / "closed.log"
    said = python(ASK_THE_HUB, guarded(log, **cache, **{switch: "1"}))
    assert "LocalEntryNotFoundError" in said and "Offline" in said and attempts(log) == []


def test_the_guard_lets_this_machine_talk_to_itself(tmp_path):
    code = (
        "import socket, urllib.request\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "socket.create_connection(server.getsockname()).close()\n"
        "socket.getaddrinfo(socket.gethostname(), None)\n"
        "for host in ('192.0.2.1', 'example.org'):\n"
        "    try:\n        socket.create_connection((host, 80), 1)\n"
        "    except OSError as error:\n        print(error)\n"
    )
    log = tmp_path / "log"
    assert python(code, guarded(log)).count("lets nothing out") == 2
    assert ["192.0.2.1" in attempts(log)[0], "example.org" in attempts(log)[1]] == [True, True]


@pytest.mark.parametrize(
    ("value", "off"), [("1", True), ("yes", True), ("0", False), ("", False), ("false", False)]
)
def test_the_switch_is_read_as_people_write_it(monkeypatch, value, off):
    for name in airgap.IMPLIED:
        monkeypatch.setenv(name, "")
    monkeypatch.setenv(airgap.OWN, value)
    assert airgap.offline() is off
    airgap.enforce()
    assert (os.environ[airgap.HUB] == "1") is off


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    for name in (airgap.OWN, *airgap.IMPLIED):
        monkeypatch.delenv(name, raising=False)
    return make_tiny_workspace(tmp_path / "w", base=6, validation=6, kpi=8, pool=8, pregen=4)


def name_weights(workspace: Path, backbone: str, model: str) -> None:
    path = workspace / SPEC
    spec = yaml.safe_load(path.read_text())
    spec["model"]["backbone"]["pretrained_backbone_path"] = backbone
    spec["train"]["pretrained_model_path"] = model
    path.write_text(yaml.safe_dump(spec))


def preflight(workspace: Path, **config) -> list[dict]:
    """Return the checks as written, whether or not they stop."""
    settings = resolve({"encoder": "changenet", "device": "cpu", **config})
    try:
        run_preflight(workspace, workspace / "results/run_1", settings, sources={}, log=str)
    except HardStop:
        pass
    return json.loads((workspace / "results/run_1/preflight/checks.json").read_text())["checks"]


def row(checks: list[dict], id: str) -> dict | None:
    return next((check for check in checks if check["id"] == id), None)


def test_everything_missing_stands_in_one_row(workspace, monkeypatch, tmp_path):
    name_weights(workspace, "augmentation/backbone/a.pth", "https://hub/b.pth")
    monkeypatch.setenv(airgap.OWN, "1")
    have = measure.installed
    monkeypatch.setattr(
        measure, "installed", lambda wanted: {k: v for k, v in have(wanted).items() if k != "timm"}
    )
    folder = str(tmp_path / "absent")
    found = row(preflight(workspace, encoder="siglip", encoder_weights=folder), "air_gap")
    assert (found["status"], found["code"]) == ("stop", "missing_input")
    for missing in ("a.pth", "https://hub/b.pth", folder, "timm"):
        assert missing in found["evidence"], found["evidence"]
    assert "make bundle" in found["fix"] and "docs/air_gap.md" in found["fix"]


def test_nothing_missing_is_said_too_and_only_behind_the_gap(workspace, monkeypatch):
    assert row(preflight(workspace), "air_gap") is None
    monkeypatch.setenv(airgap.HUB, "1")
    found = row(preflight(workspace), "air_gap")
    assert found["status"] == "ok" and "all is staged" in found["evidence"]


def test_missing_and_other_packages_are_told_with_a_connection_too(workspace, monkeypatch):
    found = row(preflight(workspace), "packages")
    assert found["status"] == "ok"
    monkeypatch.setattr(measure, "installed", lambda wanted: {p.name: "0.1" for p in wanted})
    assert row(preflight(workspace), "packages")["status"] == "warn"
    monkeypatch.setattr(measure, "installed", lambda wanted: {})
    assert row(preflight(workspace), "packages")["status"] == "stop"


def test_named_weights_come_from_the_spec_and_the_configuration(workspace, tmp_path):
    config = {"encoder": "siglip", "mining": "nearest", "encoder_weights": str(tmp_path / "enc")}
    (tmp_path / "enc").mkdir()
    (workspace / "a.pth").write_bytes(b"1")
    name_weights(workspace, "a.pth", "~/b.pth")
    backbone, model, encoder = named_weights(workspace, config)
    assert backbone.there and backbone.path == workspace / "a.pth"
    assert not model.there and model.path == Path("~/b.pth").expanduser()
    assert not encoder.there  # an empty folder is none
    (tmp_path / "enc" / "weights.bin").write_bytes(b"1")
    assert encoder.there
    assert len(named_weights(workspace, {**config, "encoder": "changenet"})) == 2
    assert len(named_weights(workspace, {**config, "mining": "random"})) == 2
    (workspace / SPEC).write_text("[")
    assert [named.key for named in named_weights(workspace, config)] == ["encoder_weights"]


def run(command: list[str], folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=env, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


@pytest.mark.workflow
def test_snakemake_preflight_behind_the_gap_tries_nothing(workspace, tmp_path):
    log = tmp_path / "guard.log"
    config = {"encoder": "siglip"}
    env = guarded(log, HF_HOME=str(tmp_path / "empty"), **{airgap.OWN: "1"})
    command = snakemake_command(workspace, "preflight", config=config)
    done = run(command, working_folder(workspace), env)
    assert done.returncode == 1 and "air_gap" in done.stdout and "encoder_weights" in done.stdout
    assert "Traceback" not in done.stdout and attempts(log) == []


def brought_along(names: set[str]) -> set[str]:
    """Return packages and all that they require, as pip would install them."""
    found, waiting = set(), {canonicalize_name(name) for name in names}
    while waiting:
        name = waiting.pop()
        found.add(name)
        with contextlib.suppress(metadata.PackageNotFoundError):
            needs = map(Requirement, metadata.requires(name) or [])
            here = {r.name for r in needs if r.marker is None or r.marker.evaluate({"extra": ""})}
            waiting |= {canonicalize_name(name) for name in here} - found
    return found


def hidden_modules() -> dict[str, list[str]]:
    """Return script -> the pinned modules that its rule's environment does not hold."""
    pinned = {package.module for package in table().packages}
    out = {}
    for family in FAMILIES:
        there = brought_along({package.name for package in table().of(family)})
        held = {p.module for p in table().packages if canonicalize_name(p.name) in there}
        for script in rules_by_family()[family]:
            out[f"{script}.py"] = sorted(pinned - held)
    return out


@pytest.mark.slow
@pytest.mark.workflow
def test_whole_loop_behind_the_gap_and_with_each_rules_environment_alone(tmp_path):
    """No stage tries a connection (and none is there), nor imports what its environment lacks."""
    workspace = make_tiny_workspace(tmp_path / "workspace")
    log, envs = tmp_path / "guard.log", tmp_path / "envs.json"
    envs.write_text(json.dumps(hidden_modules()))
    env = guarded(log, GUARD_ENVS=str(envs), HF_HOME=str(tmp_path / "empty"), **{airgap.OWN: "1"})
    command = snakemake_command(workspace, config={"max_iterations": 1})
    if shutil.which("unshare") and run(["unshare", "-rn", "true"], tmp_path, env).returncode == 0:
        command = ["unshare", "-rn", *command]  # not even a loopback
    done = run(command, working_folder(workspace), env)
    assert done.returncode == 0, done.stdout[-4000:]
    assert attempts(log) == []
    assert (workspace / "results/run_a/DEFT_Loop_Report.html").is_file()
    assert (workspace / "results/run_a/best_model/model.onnx").is_file()


def test_hiding_works_so_that_the_loop_proves_something(tmp_path):
    script = tmp_path / "evaluate.py"
    script.write_text("try:\n    import torch\nexcept ImportError as error:\n    print(error)\n")
    envs = tmp_path / "envs.json"
    envs.write_text(json.dumps(hidden_modules()))
    env = guarded(tmp_path / "log", GUARD_ENVS=str(envs))
    done = run([sys.executable, str(script)], tmp_path, env)
    assert "No module named 'torch'" in done.stdout
    assert "torch" in hidden_modules()["evaluate.py"]
