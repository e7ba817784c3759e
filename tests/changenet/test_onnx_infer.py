"""ONNX Runtime as engine: the scores are torch's, and it runs where it was asked to."""

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from changenet_pairs import spec_data
from onnx import TensorProto, helper

from deft.changenet.data.pairs import open_pairs
from deft.changenet.infer import infer_table
from deft.changenet.model import build_model
from deft.changenet.onnx import scorer as onnx_infer
from deft.changenet.onnx.export import export_onnx
from deft.changenet.onnx.runtime import INPUTS
from deft.changenet.onnx.scorer import (
    CPU,
    CUDA,
    Scorer,
    assert_provider,
    runtime_facts,
    score_pairs,
)
from deft.changenet.spec import from_dict
from deft.changenet.weights import save_weights
from deft.core.errors import HardStop


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A spec, its random weights, and their export."""
    folder, spec = tmp_path_factory.mktemp("onnx"), from_dict(spec_data())
    torch.manual_seed(3)
    save_weights(folder / "m.pth", build_model(spec), epoch=0, step=1)
    export_onnx(spec, folder / "m.pth", folder / "m.onnx")
    return spec, folder / "m.pth", folder / "m.onnx"


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_a_table_gets_torchs_scores(files, workspace, tmp_path, batch):
    spec, weights, path = files
    args = (spec, weights, workspace / "val.csv", workspace / "images")
    infer_table(*args, tmp_path / "torch.csv")
    rows = infer_table(*args, tmp_path / "onnx.csv", batch_size=batch, onnx=Scorer(path))
    by_torch, by_onnx = (pd.read_csv(tmp_path / f"{n}.csv") for n in ("torch", "onnx"))
    assert rows == len(by_torch) == 8
    assert np.abs(by_torch["siamese_score"] - by_onnx["siamese_score"]).max() < 1e-5
    assert by_torch.drop(columns="siamese_score").equals(by_onnx.drop(columns="siamese_score"))
    again = tmp_path / "again.csv"
    infer_table(*args, again, batch_size=batch, onnx=Scorer(path))
    assert again.read_bytes() == (tmp_path / "onnx.csv").read_bytes()


def test_chosen_rows_in_their_order(files, workspace):
    spec, _, path = files
    data = open_pairs(spec, workspace / "val.csv", workspace / "images")
    every = score_pairs(Scorer(path), data, 4)
    some = score_pairs(Scorer(path), data, 4, [6, 1, 3])
    assert np.allclose(some, every[[6, 1, 3]], atol=1e-6)


def test_threads_are_honoured_and_the_provider_is_told(files):
    scorer = Scorer(files[2], threads=2)
    options = scorer.session.get_session_options()
    assert options.intra_op_num_threads == 2 and options.use_deterministic_compute
    assert scorer.provider == CPU == runtime_facts(scorer)["provider"]


def test_a_session_that_fell_back_to_the_cpu_stops():
    assert_provider([CUDA, CPU], CUDA)
    with pytest.raises(HardStop, match="fell back to CPU") as stop:
        assert_provider([CPU], CUDA)
    assert stop.value.code == "config_invalid" and "onnxruntime-gpu" in stop.value.fix


def test_cuda_that_loads_no_libraries_is_no_silent_cpu(files, monkeypatch):
    """As on a machine with a card and a broken CUDA: the provider is listed, the session falls
    back."""
    import onnxruntime

    real = onnxruntime.InferenceSession
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda path, options, providers: real(path, options, [CPU])
    )
    for device in ("cuda", "auto"):
        with pytest.raises(HardStop, match="asked for CUDAExecutionProvider and fell back"):
            Scorer(files[2], device=device)
    assert Scorer(files[2], device="cpu").provider == CPU


def test_cuda_without_a_card_or_without_a_cuda_build(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert onnx_infer.wanted_provider("auto") == CPU
    with pytest.raises(HardStop, match="no CUDA device") as stop:
        onnx_infer.wanted_provider("cuda")
    assert stop.value.code == "config_invalid"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: [CPU])
    with pytest.raises(HardStop, match="built without CUDA") as stop:
        onnx_infer.wanted_provider("auto")
    assert "onnxruntime-gpu" in stop.value.fix


def network_file(path, *, batch="n", size=8, output="output", axes=3):
    """Write a network of one Add, (batch, 3, size, size) -> the same or, flattened, less."""
    shape = [batch, *([3, size, size][:axes])]
    sides = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in INPUTS]
    node = helper.make_node("Add", list(INPUTS), [output])
    made = helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)
    graph = helper.make_graph([node], "g", sides, [made])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )
    return path


@pytest.mark.parametrize(
    "file, said",
    [
        ({"output": "score"}, r"outputs \['score'\]"),
        ({"axes": 1}, r"pictures of shape \['n', 3\]"),
    ],
)
def test_networks_with_other_ends(tmp_path, file, said):
    with pytest.raises(HardStop, match=said) as stop:
        Scorer(network_file(tmp_path / "m.onnx", **file))
    assert stop.value.code == "spec_invalid"


def test_pictures_that_the_file_cannot_take(tmp_path):
    scorer = Scorer(network_file(tmp_path / "m.onnx", batch=None))
    assert scorer.fixed_batch is None  # an axis without a name takes any number
    for size, said in ((9, "cannot compute pictures of shape"), (8, r"output of shape \(2, 3, 8")):
        pictures = np.zeros((2, 3, size, size), np.float32)
        with pytest.raises(HardStop, match=said) as stop:
            scorer.run(pictures, pictures)
        assert stop.value.code == "spec_invalid" and stop.value.file == str(tmp_path / "m.onnx")


def test_an_error_without_words(tmp_path, monkeypatch):
    def fail(*args, **options):
        raise RuntimeError("")

    monkeypatch.setattr("onnxruntime.InferenceSession", fail)
    with pytest.raises(HardStop, match=r"cannot load the file \(RuntimeError\)"):
        Scorer(network_file(tmp_path / "m.onnx"))


def test_files_that_are_no_such_network(tmp_path):
    with pytest.raises(HardStop) as stop:
        Scorer(tmp_path / "absent.onnx")
    assert stop.value.code == "missing_input"
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(HardStop, match="cannot load") as stop:
        Scorer(tmp_path / "text.onnx")
    assert stop.value.code == "spec_invalid"
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n"]) for n in ("x", "y"))
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(HardStop, match=r"inputs \['x'\] instead of"):
        Scorer(tmp_path / "other.onnx")
