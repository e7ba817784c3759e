"""The pre-flight says which of an encoder's files are missing, and how to stage them."""

from __future__ import annotations

import shutil

import pytest
from encoder_folders import NAMES
from tiny_workspace import make_tiny_workspace

from deft.core.errors import HardStop
from deft.embedding.encoders.files import files_of
from deft.embedding.encoders.table import FAMILIES, PUBLISHED
from deft.preflight import checks_encoder
from deft.preflight.check import Context
from deft.preflight.run import run_preflight
from deft.settings.config import resolve

STAGED = [name for name in NAMES if name != "changenet"]


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No credentials, an empty cache of the hub."""
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "AIR_GAPPED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def check(tmp_path):
    def get(**config):
        ctx = Context(tmp_path, tmp_path / "results/run_1", config, {}, lambda _: None)
        (answer,) = checks_encoder.checks(ctx)
        return answer

    return get


@pytest.mark.parametrize("name", STAGED)
def test_a_complete_folder_passes(name, staged, check):
    answer = check(encoder=name, encoder_weights=str(staged(name)), mining="nearest")
    assert answer.status == "ok" and name in answer.evidence and " px: " in answer.evidence


@pytest.mark.parametrize("name", STAGED)
def test_an_empty_folder_names_every_file_and_the_command(name, check, tmp_path):
    (tmp_path / "weights").mkdir()
    answer = check(encoder=name, encoder_weights="weights", mining="nearest")
    family = FAMILIES[PUBLISHED[name].family]
    assert answer.status == "stop" and answer.stop.code == "missing_input"
    assert all(file in answer.evidence for file in (*family.configs, family.weights[0]))
    assert f"hf download {PUBLISHED[name].repository}" in answer.fix


def test_preprocessing_that_cannot_be_expressed_is_known_before_the_run(staged, check, tmp_path):
    folder = tmp_path / "weights"
    shutil.copytree(staged("dinov2"), folder)
    path = files_of("dinov2", folder).configs["config.json"]
    path.write_text(path.read_text().replace('"bicubic"', '"area"'))
    answer = check(encoder="dinov2", encoder_weights="weights", mining="nearest")
    assert answer.status == "stop" and "'area'" in answer.evidence


@pytest.mark.parametrize("name", STAGED)
@pytest.mark.parametrize("switch", ["HF_HUB_OFFLINE", "AIR_GAPPED"])
def test_offline_and_uncached_is_a_stop(name, switch, check, monkeypatch):
    monkeypatch.setenv(switch, "1")
    answer = check(encoder=name, encoder_weights=None, mining="nearest")
    assert answer.status == "stop" and "downloads are off" in answer.evidence
    assert "encoder_weights=DIR" in answer.fix


def test_what_will_be_fetched_is_a_warning(check):
    answer = check(encoder="siglip2", encoder_weights=None, mining="nearest")
    assert answer.status == "warn" and "1501 MB of timm/ViT-B-16-SigLIP2" in answer.evidence


def test_a_gated_repository_needs_a_token(check, monkeypatch):
    answer = check(encoder="dinov3", encoder_weights=None, mining="nearest")
    assert answer.status == "stop" and "HF_TOKEN is unset" in answer.evidence
    assert "accept the licence" in answer.fix
    monkeypatch.setenv("HF_TOKEN", "hf_secret_value")
    answer = check(encoder="dinov3", encoder_weights=None, mining="nearest")
    assert answer.status == "warn" and "HF_TOKEN set" in answer.evidence
    assert "secret" not in answer.evidence + answer.fix


@pytest.mark.parametrize("mining", ["random", "none"])
def test_control_arms_need_no_encoder(mining, check):
    assert check(encoder="siglip", encoder_weights=None, mining=mining).status == "ok"


def test_the_networks_own_needs_no_file(check):
    assert check(encoder="changenet", encoder_weights=None, mining="nearest").status == "ok"


def test_the_summary_carries_it(tmp_path, monkeypatch):
    monkeypatch.setenv("AIR_GAPPED", "1")
    workspace = make_tiny_workspace(tmp_path / "w", base=6, validation=6, kpi=8, pool=8, pregen=4)
    lines, run = [], workspace / "results/run_1"
    config = resolve({"encoder": "c_radio", "device": "cpu"})
    with pytest.raises(HardStop) as stop:
        run_preflight(workspace, run, config, sources={}, log=lines.append)
    assert stop.value.code == "missing_input"
    text = "\n".join(lines)
    assert "C-RADIOv2-B" in text
    assert all(file in text for file in PUBLISHED["c_radio"].files)
