"""The flip gate, and the int8 form behind it."""

import numpy as np
import pytest
import torch
from changenet_pairs import spec_data

from deft.changenet.data.pairs import open_pairs
from deft.changenet.model import build_model
from deft.changenet.onnx.export import export_network
from deft.changenet.onnx.int8 import form_for, quantize, try_int8
from deft.changenet.onnx.parity import compare, gate, hardest_rows, parity
from deft.changenet.onnx.scorer import Scorer, score_pairs
from deft.changenet.spec import from_dict
from deft.core.errors import HardStop
from deft.stages.export_best import _summary, refuse_other_decisions

pytestmark = pytest.mark.long


def test_compare_counts_differences_margins_and_flips():
    found = compare([0.1, 0.5, 0.9], [0.1, 0.7, 0.9], 0.6)
    assert found["flips"] == 1 and found["flipped"] == [1] and found["pairs"] == 3
    assert found["largest_difference"] == pytest.approx(0.2, abs=1e-6)
    assert found["smallest_margin"] == pytest.approx(0.1, abs=1e-6)
    assert found["above_noise"] and not compare([0.6], [0.6], 0.6)["above_noise"]
    # A score equal to the threshold is not above it, in float32.
    assert compare([0.3], [np.float32(0.3)], 0.3)["flips"] == 0
    assert compare([0.3], [np.nextafter(np.float32(0.3), np.float32(1))], 0.3)["flips"] == 1
    with pytest.raises(ValueError):
        compare([0.1, 0.2], [0.1], 0.5)


def test_gate_names_the_rows_that_flip(tmp_path):
    gate(compare([0.1, 0.9], [0.2, 0.8], 0.5), tmp_path / "t.csv", "it")
    with pytest.raises(
        HardStop, match="decides 1 of 2 parts otherwise, beyond float noise"
    ) as stop:
        gate(compare([0.1, 0.9], [0.2, 0.4], 0.5), tmp_path / "t.csv", "it")
    assert stop.value.code == "score_invalid" and stop.value.rows == [3]
    assert stop.value.evidence["flips"] == 1 and "runtime: onnx" in stop.value.fix


def test_a_handed_off_threshold_that_decides_otherwise_stops():
    with pytest.raises(HardStop, match="decides 1 of 3 KPI parts otherwise") as stop:
        refuse_other_decisions(np.float32([0, 0.2, 0.9]), 0.3, 0.1, "t.csv")
    assert stop.value.code == "score_invalid" and stop.value.rows == [3]


def test_a_flip_within_float_noise_is_told_and_no_stop():
    found = compare([0.1, 0.5 + 3e-7, 0.9], [0.1, 0.5 - 2e-6, 0.9], 0.5)
    assert (found["flips"], found["flips_above_noise"], found["flipped"]) == (1, 0, [1])
    assert not found["above_noise"]
    gate(found, "t.csv", "it")
    # Near the threshold on one side, yet no float noise between the two.
    far = compare([0.5 + 3e-7, 0.5 + 3e-7], [0.5 - 2e-6, 0.4], 0.5)
    assert (far["flips"], far["flips_above_noise"], far["flipped"]) == (2, 1, [1])
    with pytest.raises(HardStop, match="decides 1 of 2 parts"):
        gate(far, "t.csv", "it")
    # Neither score is within 1e-6 of the threshold.
    assert compare([0.5 + 2e-6], [0.5 - 2e-6], 0.5)["flips_above_noise"] == 1


@pytest.mark.parametrize("other, said", [(0.5 - 2e-6, "1 decided otherwise"), (0.6, "no flip")])
def test_the_terminal_tells_flips_within_noise(other, said):
    found = compare([0.1, 0.5 + 3e-7], [0.1, other], 0.5)
    text = _summary("iter1", {"parity": {"at_safe_threshold": found}, "int8": None})
    assert said in text and "within float noise" in text
    both = {"at_safe_threshold": found, "torch": found | {"flips": 2}}
    assert "torch decides 2 otherwise" in _summary("iter1", {"parity": both, "int8": None})


def test_hardest_rows_are_near_the_threshold_and_everywhere():
    scores = np.linspace(0, 1, 1000, dtype=np.float32)
    rows = hardest_rows(scores, 0.3, 100)
    assert len(rows) <= 100 and (np.diff(rows) > 0).all()
    assert set(np.argsort(np.abs(scores - 0.3))[:50]) <= set(rows)
    assert rows[0] == 0 and rows[-1] == 999
    assert (hardest_rows(scores, 0.3, 1000) == np.arange(1000)).all()


def a_network(backbone, folder, seed=0):
    data = spec_data()
    data["model"]["backbone"]["type"] = backbone
    spec = from_dict(data)
    torch.manual_seed(seed)
    model = build_model(spec).eval()
    export_network(model, spec, folder / "m.onnx")
    return spec, model, folder / "m.onnx"


def test_parity_covers_the_whole_path(workspace, tmp_path):
    spec, model, path = a_network("timm:test_resnet", tmp_path)
    data = open_pairs(spec, workspace / "train.csv", workspace / "images")
    scores = score_pairs(Scorer(path), data, 6)
    found = parity(model, path, data, float(np.sort(scores)[7]))
    safe = found["at_safe_threshold"]
    assert safe["pairs"] == 18 and safe["flips"] == 0
    assert safe["largest_difference"] < 1e-5
    assert found["at_kpi_threshold"]["smallest_margin"] < 1e-6 < safe["smallest_margin"]
    # Another network's file is found out.
    (tmp_path / "other").mkdir()
    _, _, other = a_network("timm:test_resnet", tmp_path / "other", seed=1)
    assert parity(model, other, data, 0.5)["at_kpi_threshold"]["largest_difference"] > 1e-4


@pytest.mark.parametrize(
    "backbone, form", [("timm:test_resnet", "static"), ("timm:test_vit", "dynamic")]
)
def test_int8_is_kept_only_without_a_flip(workspace, tmp_path, backbone, form):
    spec, _, path = a_network(backbone, tmp_path)
    kpi = open_pairs(spec, workspace / "train.csv", workspace / "images")
    training = open_pairs(spec, workspace / "val.csv", workspace / "images")
    assert form_for(path) == form
    facts = quantize(path, tmp_path / "first.onnx", training, 6)
    assert facts["form"] == form and facts["bytes"] < path.stat().st_size
    assert facts["calibration_rows"] == (8 if form == "static" else 0)
    scores = score_pairs(Scorer(path), kpi, 6)
    moved = score_pairs(Scorer(tmp_path / "first.onnx"), kpi, 6)
    assert np.abs(moved - scores).max() > 1e-6  # int8 is not float

    args = (path, tmp_path / "model.int8.onnx", kpi, training, scores)
    kept = try_int8(*args, float(scores.max()) + 0.2)
    assert kept["kept"] and kept["flips"] == 0 and "as before" in kept["reason"]
    assert (tmp_path / "model.int8.onnx").stat().st_size == kept["bytes"]
    assert kept["speed_ratio"] > 0 and kept["pairs_per_s"] > 0

    row = int(np.argmax(np.abs(moved - scores)))
    between = (float(scores[row]) + float(moved[row])) / 2
    refused = try_int8(*args, between)
    assert not refused["kept"] and refused["flips"] >= 1
    assert f"{refused['flips']} of 18 KPI parts" in refused["reason"]
    assert not (tmp_path / "model.int8.onnx").exists() and "sha256" not in refused
    left = sorted(p.name for p in tmp_path.iterdir())
    assert left == ["first.onnx", "m.onnx"]
