"""Checkpoints as trainers write them, what makes networks, and formats that are not explored."""

from __future__ import annotations

import shutil
import sys
import zipfile
from pathlib import Path

import explore_graphs as graphs
import explore_tools as tools
import pytest
import torch
from torch import nn

from deft.core.errors import HardStop
from model_explorer import formats
from model_explorer.kit import weights
from model_explorer.kit.folder import Folder, Refusal
from model_explorer.kit.networks import build_network
from model_explorer.kit.onnx_runtime import load

STATE = {"a.weight": torch.ones(2, 5), "a.bias": torch.zeros(2)}
EMA = {"a.weight": torch.full((2, 5), 2.0), "a.bias": torch.ones(2)}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(5, 2)


def renamed(state: dict, before: str = "", take: str = "") -> dict:
    return {before + k.removeprefix(take): v for k, v in state.items()}


@pytest.mark.parametrize(
    ("data", "where", "prefix"),
    [
        (STATE, "top level of the file", None),
        ({"model_state": STATE, "optimizer_state": {"state": {0: STATE}}}, "model_state", None),
        ({"model": {"state_dict": STATE, "model_args": {}}}, "model.state_dict", None),
        ({"epoch": 3, "state_dict": renamed(STATE, "model.")}, "state_dict", "model."),
        ({"state_dict": renamed(STATE, "module.")}, "state_dict", "module."),
        ({"net": renamed(STATE, "_orig_mod.")}, "net", "_orig_mod."),
        ({"params_ema": STATE}, "params_ema", None),
        ({"a_trainer": {"deep": {"below": renamed(STATE, "student.")}}}, "a_trainer.deep.below",
         "student."),
        ({"threshold": torch.tensor(0.5), "state_dict": STATE}, "state_dict", None),
        ({"model": Net()}, "model", None),
    ],
)  # fmt: skip
def test_nested_weights_are_found_and_what_was_done_is_told(data, where, prefix):
    module = Net()
    facts = weights.fill(module, data)
    assert (facts["weights"], facts["prefix_removed"], facts["tensors"]) == (where, prefix, 2)
    if where != "model" or prefix:
        assert not isinstance(data.get("model"), dict) or module.a.weight.sum() == 10
    assert weights.unknowns_of(facts) == []


def test_weights_without_the_wrappers_name_are_given_it():
    module = nn.ModuleDict({"backbone": Net()})
    assert weights.fill(module, STATE)["prefix_added"] == "backbone."
    assert module["backbone"].a.weight.sum() == 10


def test_of_two_that_fit_the_choice_is_shown_and_set_by_the_user():
    data, module = {"ema": EMA, "model": STATE, "optimizer": {"state": {0: EMA}}}, Net()
    facts = weights.fill(module, data)
    assert facts["weights"] == "model" and module.a.weight.sum() == 10
    assert facts["weights_in_the_file"] == "model (2 tensors), ema (2 tensors)"
    (unknown,) = weights.unknowns_of(facts)
    assert unknown["need"]["line"] == 'weights_key: "model"  # a guess, put yours'
    facts = weights.fill(module, data, "ema")
    assert facts["weights"] == "ema" and module.a.weight.sum() == 20
    assert weights.unknowns_of(facts) == []
    with pytest.raises(Refusal, match=r"'emma' holds no tensors; the file has model \(2 ten") as no:
        weights.fill(module, data, "emma")
    assert no.value.needs[0]["key"] == "weights_key"


def test_tensors_that_fill_nothing_are_told_if_few_and_refused_if_many():
    extra = {**STATE, "loss.scale": torch.ones(())}
    facts = weights.fill(Net(), extra)
    assert facts["unused_weights"] == ["loss.scale"]
    assert "1 tensors of the file" in weights.unknowns_of(facts)[0]["what"]
    with pytest.raises(Refusal, match=r"do not fit the network: 1 extra \(b\.weight\)"):
        weights.fill(Net(), {**STATE, "b.weight": torch.ones(9)})
    with pytest.raises(Refusal, match="1 missing .a.bias.*1 extra .b.bias"):
        weights.fill(Net(), {"a.weight": STATE["a.weight"], "b.bias": torch.ones(2)})
    with pytest.raises(Refusal, match=r"1 misshapen \(a\.bias \(3,\) instead of \(2,\)\)"):
        weights.fill(Net(), {**STATE, "a.bias": torch.ones(3)})
    with pytest.raises(Refusal, match="holds no tensors"):
        weights.fill(Net(), {"optimizer": {"state": STATE}})


SOURCE = """
from torch import nn

class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.a = nn.Linear(5, width)

    @classmethod
    def small(cls):
        return cls(2)

    def forward(self, x, scale: float):
        return self.a(x) * scale

def make(width=2):
    return Net(width)

def broken():
    raise KeyError("no such size")
"""


def network(root: Path, class_path: str, **arguments):
    """Build the network of a source folder in ``root``."""
    place = root / "refs" / "theirs_of_tests"
    place.mkdir(parents=True, exist_ok=True)
    (place / "their_net.py").write_text(SOURCE)
    torch.save({"model_state": STATE}, root / "net.pth")
    what = {"file": "net.pth", "family": "source", "class_path": class_path,
            "class_arguments": arguments, "sources": ["refs/theirs_of_tests"]}  # fmt: skip
    before = list(sys.path)
    try:
        return build_network(Folder(root), what)
    finally:
        sys.path[:] = before
        sys.modules.pop("their_net", None)


@pytest.mark.parametrize("path", ["their_net:Net.small", "their_net:make"])
def test_networks_are_made_by_classes_methods_and_functions(tmp_path, path):
    found = network(tmp_path, path)
    assert found.facts["weights"] == "model_state" and found.module.a.weight.sum() == 10
    assert [(i["name"], i["shape"], i.get("python")) for i in found.inputs] == [
        ("x", None, None), ("scale", [], "float"),
    ]  # fmt: skip


def test_what_cannot_be_made_says_what_to_give(tmp_path):
    with pytest.raises(Refusal, match="cannot be made.*width.*class_arguments") as refusal:
        network(tmp_path, "their_net:Net")
    assert refusal.value.needs[0]["key"] == "class_arguments.width"
    with pytest.raises(Refusal, match="cannot be made: KeyError: 'no such size'"):
        network(tmp_path, "their_net:broken")
    with pytest.raises(Refusal, match="has no Net.large"):
        network(tmp_path, "their_net:Net.large")


FILES = {
    "net.tflite": (b"\x1c\0\0\0TFL3" + bytes(40), "TensorFlow Lite"),
    "net.h5": (b"\x89HDF\r\n\x1a\n" + bytes(40), "HDF5"),
    "net.engine": (b"ptrt" + bytes(40), "TensorRT engine"),
    "net.plan": (bytes(40), "TensorRT engine"),
    "net.gguf": (b"GGUF\x03" + bytes(40), "GGUF"),
    "net.ort": (b"\x18\0\0\0ORTM" + bytes(40), "ONNX Runtime's own"),
    "saved_model.pb": (b"\x08\x01\x12" + bytes(40), "TensorFlow SavedModel"),
    "frozen.pb": (b"\x0a\x10\x0a\x01x" + bytes(40), "TensorFlow graph"),
    "net.xml": (b'<?xml version="1.0"?><net name="n">', "OpenVINO"),
    "net.pdmodel": (b"\x0a\x0b\x0a" + bytes(40), "PaddlePaddle"),
    "net.mlmodel": (b"\x0b\x04\x12" + bytes(40), "Core ML"),
    "net.param": (b"7767517\n3 3\n", "ncnn"),
}


BY_CONTENT = ("net.tflite", "net.h5", "net.engine", "net.gguf", "net.ort", "net.param")


@pytest.mark.parametrize(
    ("name", "called"), [*((n, n) for n in FILES), *((n, "weights.bin") for n in BY_CONTENT)]
)
def test_a_format_that_is_not_explored_is_no_damage(tmp_path, name, called):
    content, words = FILES[name]
    path = tmp_path / called
    path.write_bytes(content)
    with pytest.raises(HardStop) as stop:
        formats.identify(path)
    assert stop.value.message.startswith("not supported: ") and words in stop.value.message
    assert "damaged" not in stop.value.message and stop.value.fix.startswith("convert it: ")


def test_folders_and_archives_of_other_formats(tmp_path):
    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "saved_model.pb").write_bytes(b"\x08\x01")
    with pytest.raises(HardStop, match="SavedModel") as stop:
        formats.choose(saved)
    assert f"--saved-model {saved}" in stop.value.fix
    core = tmp_path / "net.mlpackage"
    core.mkdir()
    with pytest.raises(HardStop, match="Core ML"):
        formats.choose(core)
    with zipfile.ZipFile(tmp_path / "net.keras", "w") as archive:
        archive.writestr("config.json", "{}" * 50)
        archive.writestr("model.weights.h5", "x" * 50)
    with pytest.raises(HardStop, match="not supported: Keras"):
        formats.identify(tmp_path / "net.keras")


@pytest.mark.parametrize(("opset", "ir"), [(999, 8), (17, 99)])
def test_an_opset_above_the_runtimes_is_not_supported_and_not_damaged(tmp_path, opset, ir):
    path = graphs.plain(tmp_path / "net.onnx", opset=opset, ir=ir)
    assert formats.identify(path).format == "onnx"
    with pytest.raises(Refusal, match="is not supported by ONNX Runtime .* knows the format up to"):
        load(Folder(tmp_path), {"file": "net.onnx"}, {"device": "cpu"}, 1)


def test_operators_of_its_own_need_their_library(tmp_path):
    import onnx

    node = onnx.helper.make_node("Tokens", ["x"], ["y"], domain="theirs")
    graphs.saved(tmp_path / "net.onnx", [node], {"x": (graphs.FLOAT, [1])},
                 {"y": (graphs.FLOAT, [1])})  # fmt: skip
    model = onnx.load(str(tmp_path / "net.onnx"))
    model.opset_import.append(onnx.helper.make_opsetid("theirs", 1))
    onnx.save(model, str(tmp_path / "net.onnx"))
    with pytest.raises(Refusal, match="operators of its own"):
        load(Folder(tmp_path), {"file": "net.onnx"}, {"device": "cpu"}, 1)


def hub_folder(root: Path) -> Path:
    """A folder as transformers saves it, with a configuration and twice the same weights."""
    from safetensors.torch import save_file

    root.mkdir()
    (root / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}')
    (root / "vocab.txt").write_text("a\n")
    save_file(STATE, root / "model.safetensors")
    torch.save(STATE, root / "pytorch_model.bin")
    return root


def test_a_folder_of_transformers_asks_for_transformers_like_any_package(tmp_path):
    hub_folder(tmp_path / "hub")
    assert formats.choose(tmp_path / "hub").name == "model.safetensors"
    from importlib import util

    if util.find_spec("transformers"):
        pytest.skip("transformers is installed")
    with pytest.raises(HardStop, match="transformers for the name") as stop:
        tools.explored(tmp_path, checkpoint="hub", name="transformers:BertModel")
    assert stop.value.code == "approval_missing"
    with pytest.raises(HardStop, match="transformers for the name"):
        tools.explored(tmp_path, checkpoint="hub", name="my own name")
    (tmp_path / "hub" / "config.json").unlink()
    (tmp_path / "hub" / "pytorch_model.bin").unlink()
    with pytest.raises(HardStop, match="has its model_type"):
        tools.explored(tmp_path, checkpoint="hub", name="transformers:BertModel")


@pytest.mark.slow
def test_a_folder_of_transformers_runs_where_it_is_installed(tmp_path, monkeypatch):
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(vocab_size=40, hidden_size=16, num_hidden_layers=1,
                                     num_attention_heads=2, intermediate_size=16)  # fmt: skip
    transformers.BertModel(config).save_pretrained(tmp_path / "hub")
    folder = tools.explored(tmp_path, in_process=monkeypatch, checkpoint="hub", name="a text model")
    entries = {i["name"]: i for i in folder.need("io_contract")["inputs"]}
    assert entries["input_ids"]["range"] == [0, 39] and folder.need("stats")["warm"]["runs"]
    shutil.rmtree(folder.root)
    with pytest.raises(HardStop, match="would be made up"):
        tools.explored(tmp_path, in_process=monkeypatch, checkpoint="hub",
                       name="transformers:BertForMaskedLM")  # fmt: skip
