"""Settings of the embedding that would fail only after the baseline's training."""

from __future__ import annotations

import pytest
from tiny_workspace import make_tiny_workspace

from deft.preflight.check import Context
from deft.preflight.checks_embedding import checks
from deft.settings.config import resolve


@pytest.fixture
def found(tmp_path):
    """Return id -> check for a configuration of a small workspace."""
    workspace = make_tiny_workspace(tmp_path / "w", base=4, validation=2, kpi=2, pool=2, pregen=1)

    def run(**config):
        settings = resolve({"encoder": "changenet", **config})
        ctx = Context(workspace, workspace / "results/run_1", settings, {}, print)
        return {check.id: check for check in checks(ctx)}

    run.workspace = workspace
    return run


def test_the_defaults_pass_and_make_nothing(found):
    result = found()
    assert {c.status for c in result.values()} == {"ok"}
    assert "results/embedding_cache" in result["embedding_cache"].evidence
    assert not (found.workspace / "results").exists()
    assert "off" in found(embedding_cache="off")["embedding_cache"].evidence


def test_a_cache_below_a_file_stops(found, tmp_path):
    (tmp_path / "file").write_text("")
    check = found(embedding_cache=str(tmp_path / "file/cache"))["embedding_cache"]
    assert check.status == "stop" and check.stop.code == "config_invalid"
    assert "is no folder" in check.stop.message
    assert found(embedding_cache=str(tmp_path / "new/cache"))["embedding_cache"].status == "ok"


@pytest.mark.parametrize(
    "config", [{"device": "cuda"}, {"embed_precision": "bfloat16"}, {"embed_compile": True}]
)
def test_onnx_runtime_is_for_float32_on_a_cpu(found, config, monkeypatch):
    monkeypatch.setattr("deft.preflight.checks_embedding.has_card", lambda: False)
    assert found(embed_runtime="onnx")["embedding"].status == "ok"
    assert found(**config)["embedding"].status == "ok"
    check = found(embed_runtime="onnx", **config)["embedding"]
    assert check.status == "stop" and check.stop.code == "config_invalid"


def test_onnx_runtime_stops_where_auto_would_take_a_gpu(found, monkeypatch):
    monkeypatch.setattr("deft.preflight.checks_embedding.has_card", lambda: True)
    check = found(embed_runtime="onnx")["embedding"]
    assert check.status == "stop" and "device: auto beside a GPU" in check.stop.message
    assert found(embed_runtime="onnx", device="cpu")["embedding"].status == "ok"
