"""Exports of the recorded networks: ONNX Runtime gives TAO's numbers from TAO's kinds of nodes."""

from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from tao_reference import LOGITS_TOLERANCE, has, load_json, load_npz, model_cases
from whole_models import built, case_spec, inputs

from deft.changenet.onnx.export import export_network
from deft.changenet.onnx.scorer import Scorer
from deft.changenet.weights import TAO_MODEL

pytestmark = pytest.mark.long

# The recorded export that a case is the same network as.
RECORDED = {
    "learnable_radio_b_224": "io/onnx_learnable_17_-1.json",
    "euclid_radio_b_224": "io/onnx_euclidean_17_-1.json",
}
# Nodes that stand for a layer each; how shapes are computed differs by version of the exporter.
LAYERS = ("GridSample", "LayerNormalization", "BatchNormalization", "Conv", "ConvTranspose",
          "Softmax", "Gemm", "MaxPool")  # fmt: skip
SECONDS_EACH = ("euclid_fan_small_128",)


@pytest.mark.parametrize(
    "case",
    [c if c in SECONDS_EACH else pytest.param(c, marks=pytest.mark.slow) for c in model_cases()],
)
def test_export_gives_taos_numbers(case, tmp_path):
    torch.set_num_threads(1)
    model, spec = built(case).eval(), case_spec(case)
    facts = export_network(model, spec, tmp_path / "m.onnx")
    pairs = [side.numpy() for side in inputs(case)]
    found = Scorer(tmp_path / "m.onnx").run(*pairs)
    recorded = load_npz(f"model/{case}.npz")
    wanted = recorded["logits"] if spec.learnable else recorded["score"].reshape(-1)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < LOGITS_TOLERANCE
    # Another number of pairs than the export or its own check saw.
    four = [np.concatenate([side, side[:1]]) for side in pairs]
    assert np.abs(Scorer(tmp_path / "m.onnx").run(*four)[:3] - wanted).max() < LOGITS_TOLERANCE
    if case in RECORDED and has(RECORDED[case]):
        same_as(load_json(RECORDED[case]), tmp_path / "m.onnx", found, facts)


def same_as(export, path, found, facts):
    """Compare with what TAO's own export of the same network was."""
    assert export["tao_model"] == TAO_MODEL
    model = onnx.load(path)
    shapes = [
        [v.name, 1, [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]]
        for v in (*model.graph.input, *model.graph.output)
    ]
    assert shapes == [*export["inputs"], *export["outputs"]]
    assert {"ai.onnx": facts["opset"]} == export["opset_imports"]
    assert model.ir_version == export["ir_version"]
    ops = Counter(node.op_type for node in model.graph.node)
    assert {n: ops[n] for n in LAYERS} == {n: export["ops"].get(n, 0) for n in LAYERS}
    names = {i.name for i in model.graph.initializer}
    assert set(export["initializer_names_sample"]) <= names
    assert np.abs(found - np.array(export["ort_batch3_output"])).max() < 2e-5
