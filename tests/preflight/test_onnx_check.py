"""What the pre-flight says of export and ONNX Runtime, before any training."""

import json
import sys

import pytest
import torch
import yaml
from tiny_workspace import make_tiny_workspace

from deft.core.errors import HardStop
from deft.core.layout import SPEC
from deft.preflight.run import run_preflight
from deft.settings.config import resolve


@pytest.fixture
def workspace(tmp_path):
    return make_tiny_workspace(tmp_path / "w", base=6, validation=6, kpi=8, pool=8, pregen=4)


def check(workspace, export=None, **config):
    """Run the pre-flight; return (status, evidence, fix) of its check ``onnx``."""
    spec = yaml.safe_load((workspace / SPEC).read_text())
    (workspace / SPEC).write_text(yaml.safe_dump(spec | {"export": export or {}}))
    settings = resolve({"encoder": "changenet", "device": "cpu", **config})
    run = workspace / "results/run_1"
    try:
        run_preflight(workspace, run, settings, sources={}, log=lambda line: None)
    except HardStop:
        pass
    found = json.loads((run / "preflight/checks.json").read_text())["checks"]
    return next((c["status"], c["evidence"], c["fix"]) for c in found if c["id"] == "onnx")


def test_versions_and_what_they_are_for(workspace):
    state, evidence, _ = check(workspace)
    assert state == "ok" and "hand-off, opset 17" in evidence
    state, evidence, _ = check(workspace, runtime="onnx")
    assert state == "ok" and "inference and hand-off" in evidence


def test_a_missing_runtime_stops_before_the_training(workspace, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    state, evidence, fix = check(workspace)
    assert state == "stop" and "onnxruntime cannot be imported" in evidence
    assert "requirements" in fix


def test_an_export_that_could_not_be_made_stops_before_the_training(workspace):
    state, evidence, fix = check(workspace, {"input_channel": 1})
    assert state == "stop" and "input_channel 1" in evidence


def test_another_size_of_the_export_is_said(workspace):
    """NVIDIA's own training template exports at a size that its network never sees."""
    state, evidence, fix = check(workspace, {"input_height": 512, "input_width": 128})
    assert state == "warn" and "512 and input_width 128 have no effect" in fix and "32 x" in fix


def test_a_raised_opset_is_said(workspace):
    state, evidence, fix = check(workspace, {"opset_version": 12})
    assert state == "warn" and "opset 17" in evidence and "12 is raised to 17" in fix


def test_cuda_needs_a_build_with_cuda(workspace, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    assert check(workspace, device="cuda")[0] == "ok"  # torch infers; the check runs on the CPU
    assert check(workspace, device="auto", runtime="onnx")[0] == "ok"
    state, evidence, fix = check(workspace, device="cuda", runtime="onnx")
    assert state == "stop" and "built without CUDA" in evidence and "onnxruntime-gpu" in fix
    monkeypatch.setattr(
        "onnxruntime.get_available_providers",
        lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"],
    )
    # The card may be another machine's: a login node only looks at the package.
    assert check(workspace, device="cuda", runtime="onnx")[0] == "ok"
