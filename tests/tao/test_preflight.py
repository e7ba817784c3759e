"""What pre-flight says of `engine: tao`: all that is missing at once, and how to bring it."""

from __future__ import annotations

import json

import pytest
import torch
import yaml
from safetensors.torch import save
from tao_docker import CONFIG

from deft.core.errors import HardStop
from deft.preflight import checks_tao
from deft.preflight.run import run_preflight
from deft.preflight.start import start_facts
from deft.settings.config import resolve
from deft.settings.tao import settings

SECRET = "nvapi-not-to-be-seen"


def preflight(context, **config):
    lines: list[str] = []
    asked = resolve({**CONFIG, **config})
    error = None
    try:
        run_preflight(context.workspace, context.run.dir, asked, sources={}, log=lines.append)
    except HardStop as stop:
        error = stop
    report = json.loads((context.run.dir / "preflight/checks.json").read_text())
    return error, {c["id"]: c for c in report["checks"]}, "\n".join(lines)


def test_everything_at_hand(docker, context):
    error, checks, summary = preflight(context)
    assert error is None
    images = settings({}).images.values()
    assert [c["status"] for n, c in checks.items() if n.startswith("containers")] == ["ok", "ok"]
    assert checks["tao_spec"]["status"] == checks["network"]["status"] == "ok"
    assert checks["onnx"]["status"] == "ok" and "training" not in checks
    assert checks["container_gpu"]["status"] == "warn"
    assert all(image in summary for image in images)
    assert not docker.calls("run") and not docker.calls("pull")
    assert start_facts(context.root, context.run.dir, resolve(CONFIG))["config"][
        "train_container"
    ].endswith("-pyt")


def test_every_missing_image_is_named_with_how_to_bring_it(docker, context, monkeypatch):
    docker.have({})
    monkeypatch.setenv("NGC_API_KEY", SECRET)
    error, checks, summary = preflight(context)
    stops = [c for c in checks.values() if c["status"] == "stop"]
    assert error.code == "missing_input" and len(stops) == 2
    for stop, image in zip(stops, settings({}).images.values(), strict=True):
        assert image in stop["evidence"] and "NGC_API_KEY is set" in stop["evidence"]
        for words in ("docker login nvcr.io", f"docker pull {image}", "docker save", "docker load"):
            assert words in stop["fix"]
    written = "".join(p.read_text() for p in context.run.dir.rglob("*") if p.is_file())
    assert SECRET not in summary + written + str(error)
    assert not docker.calls("pull")


def test_without_the_runtime_one_stop_says_so(context, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    error, checks, _ = preflight(context)
    assert error.code == "missing_input" and "docker on PATH" in error.message
    assert [c["status"] for n, c in checks.items() if n.startswith("containers")] == ["stop"]


def test_a_service_that_does_not_answer(docker, context):
    (docker.bin / "docker").write_text("#!/bin/sh\necho Cannot connect to the daemon >&2\nexit 1\n")
    error, _, _ = preflight(context)
    assert "docker does not answer: Cannot connect" in error.message


def test_a_spec_that_tao_does_not_take(docker, context):
    path = context.workspace / "specs/baseline_spec.yaml"
    spec = yaml.safe_load(path.read_text())
    spec["model"]["backbone"]["type"] = "timm:test_convnext"
    path.write_text(yaml.safe_dump(spec))
    error, checks, _ = preflight(context)
    assert error.code == "spec_invalid" and checks["tao_spec"]["status"] == "stop"


@pytest.mark.parametrize("given", [{}, {"encoder_weights": "augmentation/siglip"}])
def test_weights_of_taos_encoder(docker, context, monkeypatch, given):
    monkeypatch.setattr(checks_tao, "cached", lambda name: False)
    monkeypatch.setenv("AIR_GAPPED", "1")
    error, checks, _ = preflight(context, encoder="siglip", **given)
    found = checks["encoder_weights"]
    assert error.code == "missing_input" and found["status"] == "stop"
    assert "google/siglip-base-patch16-224" in found["evidence"] + found["fix"]
    folder = context.workspace / "augmentation/siglip"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(save({"weight": torch.zeros(2)}))
    if given:
        error, checks, _ = preflight(context, encoder="siglip", **given)
        assert error is None and checks["encoder_weights"]["status"] == "ok"
