"""What goes into models that nobody here made: values, one symbol in two places, states, texts,
sounds; settled by what is stated first, then by running.
"""

from __future__ import annotations

import json
import wave
from pathlib import Path

import explore_graphs as graphs
import explore_tools as tools
import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deft.core.errors import HardStop
from model_explorer.kit import audio, axes, roles, shapes, states, texts
from model_explorer.kit.folder import Refusal, whole
from model_explorer.kit.onnx_runtime import OnnxModel
from model_explorer.onnx_graph import first_reads


def opened(path: Path) -> OnnxModel:
    import onnxruntime

    cpu = ["CPUExecutionProvider"]
    return OnnxModel(onnxruntime.InferenceSession(str(path), providers=cpu), cpu)


def settled(path: Path, told=None, files=None, hints=None):
    """Return the entries and shapes of a graph's inputs, as the second step has them."""
    model, reads = opened(path), first_reads(onnx.load(str(path)))
    inputs = [{**i, "graph": reads.get(i["name"])} for i in model.inputs]
    shapes.apply_user(inputs, {"inputs": told or {}}, [])
    found = shapes.run_shapes(model, inputs, told or {}, files, hints)
    return model, {i["name"]: i for i in inputs}, found


@pytest.mark.parametrize("unnamed", [False, True])
def test_a_state_and_a_rate_run_whether_their_axes_have_names_or_not(tmp_path, unnamed):
    model, inputs, found = settled(graphs.voice(tmp_path / "voice.onnx", unnamed))
    assert found == {"input": [1, 512], "state": [2, 1, 4], "sr": []}
    assert inputs["sr"]["role"] == "value" and inputs["sr"]["fill"]["value"] == 16000
    assert inputs["state"]["role"] == "state" and inputs["state"]["state_from"] == "stateN"
    assert inputs["input"]["sizes"]["1"] == {"size": 512, "source": "trying", "guessed": True}
    assert inputs["state"]["sizes"] == {}  # its free axis is the batch
    entries = list(inputs.values())
    batch, why = shapes.batch_axes(model, entries, found)
    assert batch == {"input": 0, "state": 1, "sr": None} and "computed" in why
    assert shapes.output_batch_axes(model, entries, found, batch) == {"output": 0, "stateN": 1}
    asked = [u["need"]["line"] for u in states.guessed_values(entries)]
    assert asked == [
        "contract: {inputs: {state: {values: 0}}}  # a guess, put yours",
        "contract: {inputs: {sr: {values: 16000}}}  # a guess, put yours",
    ]


def test_what_the_user_states_of_sizes_and_values_is_no_guess(tmp_path):
    told = {"input": {"shape": ["batch", 512]}, "state": {"values": 0}, "sr": {"values": 16000}}
    _, inputs, _ = settled(graphs.voice(tmp_path / "voice.onnx"), told)
    assert not inputs["input"]["sizes"]["1"]["guessed"]
    assert states.guessed_values(list(inputs.values())) == []
    with pytest.raises(Refusal, match="does not compute an input of its stated shape") as refusal:
        settled(graphs.voice(tmp_path / "voice.onnx"), {**told, "sr": {"values": 64000}})
    assert "Gather" in str(refusal.value) and not refusal.value.proven


def test_one_symbol_is_one_size_everywhere_and_is_said_once(tmp_path):
    path = graphs.pairs(tmp_path / "pairs.onnx")
    _, _, found = settled(path)
    assert found["left"] == found["right"]
    _, inputs, found = settled(path, {"right": {"shape": ["n", 7]}})
    assert found["left"] == [1, 7] and inputs["left"]["sizes"]["1"]["source"] == shapes.USER
    with pytest.raises(
        Refusal, match=r"frames is one size in every input, but 7 by .*input right\) and 8"
    ):
        settled(path, {"right": {"shape": ["n", 7]}, "left": {"shape": ["n", 8]}})


def test_a_given_array_settles_sizes_before_anything_is_tried(tmp_path):
    file = {"left": {"shape": [1, 11], "dtype": "float32", "name": "mine.npz"}}
    _, inputs, found = settled(graphs.pairs(tmp_path / "pairs.onnx"), files=file)
    assert found["right"] == [1, 11]
    assert inputs["right"]["sizes"]["1"] == {
        "size": 11, "source": "the given file mine.npz", "guessed": False,
    }  # fmt: skip


def test_tokens_stay_within_the_table_they_are_looked_up_in_and_masks_are_ones(tmp_path):
    _, inputs, found = settled(graphs.tokens(tmp_path / "tokens.onnx"))
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    assert ids["range"] == [0, 4] and "5 rows" in ids["range_source"]
    made = roles.made(ids, found["input_ids"])
    assert made.max() == 4 and made.min() == 0 and made.dtype == np.int64
    assert roles.made(mask, found["attention_mask"]).all()
    asked = states.guessed_values([ids, mask])
    assert ["attention_mask" in u["what"] for u in asked] == [True]


def test_whole_numbers_that_nothing_bounds_are_asked_for(tmp_path):
    _, inputs, _ = settled(graphs.plain(tmp_path / "net.onnx", graphs.INT64))
    (asked,) = states.guessed_values(list(inputs.values()))
    assert asked["need"]["line"].startswith("contract: {inputs: {x: {range: [0, 1]}}}")
    _, inputs, _ = settled(tmp_path / "net.onnx", {"x": {"range": [3, 9]}})
    assert states.guessed_values(list(inputs.values())) == []
    made = roles.made(inputs["x"], [200])
    assert made.min() == 3 and made.max() == 9
    _, inputs, _ = settled(tmp_path / "net.onnx", {"x": {"values": [5, 8]}})
    assert set(roles.made(inputs["x"], [50]).tolist()) == {5, 8}


@pytest.fixture
def brief(monkeypatch):
    """Leave out the steps that draw and report: tests of inputs end at what ran."""
    whole_step = tools.step_here

    def step(folder, command, step, environment=None):
        if step.script >= "14":
            return {"script": step.script, "what": step.what, "status": "left out"}
        return whole_step(folder, command, step, environment)

    monkeypatch.setattr(tools, "step_here", step)
    return monkeypatch


@pytest.mark.parametrize(
    ("name", "kind", "dtype"),
    [("half", graphs.HALF, "float16"), ("bool", graphs.BOOL, "bool"), ("text", graphs.TEXT, "str")],
)  # fmt: skip
def test_types_other_than_float_are_explored_to_the_end(tmp_path, brief, name, kind, dtype):
    graphs.plain(tmp_path / f"{name}.onnx", kind)
    folder = tools.explored(
        tmp_path, in_process=brief, checkpoint=f"{name}.onnx", name=name,
        contract={"inputs": {"x": {"values": "pad"}}} if kind == graphs.TEXT else {},
    )  # fmt: skip
    (entry,) = folder.need("io_contract")["inputs"]
    assert entry["dtype"] == dtype and entry["run_shape"] == [1, 4]
    assert folder.need("stats")["warm"]["runs"] == 4
    if kind == graphs.TEXT:
        raw = json.loads((folder.root / "outputs/raw/made_000.json").read_text())
        assert raw["y"] == [["pad"] * 4]


@pytest.mark.parametrize("make", [graphs.rounded, graphs.outside])
def test_int8_and_numbers_beside_the_file_run(tmp_path, make):
    _, _, found = settled(make(tmp_path / "net.onnx"))
    assert found["x"][0] == 1


def test_a_model_with_a_state_runs_over_steps_each_fed_by_the_one_before(tmp_path, brief):
    graphs.voice(tmp_path / "voice.onnx")
    folder = tools.explored(tmp_path, in_process=brief, checkpoint="voice.onnx", name="voice")
    contract = folder.need("io_contract")
    assert contract["state"] == {"state": "stateN"} and contract["steps"] == 8
    sample = folder.need("inference")["samples"][0]
    means = [s["stateN"]["mean"] for s in sample["steps"]]
    assert len(means) == 8 and len(set(means)) == 8
    # By hand: the second step begins with what the first gave.
    model, files = opened(tmp_path / "voice.onnx"), sample["files"]
    feeds = [
        {n: np.load(folder.path(f[min(i, len(f) - 1)])) for n, f in files.items()} for i in (0, 1)
    ]
    first = model.run(feeds[0])
    second = model.run({**feeds[1], "state": first["stateN"]})
    assert sample["steps"][1]["stateN"]["mean"] == pytest.approx(float(second["stateN"].mean()))
    assert folder.need("inference")["batch_difference"] < 1e-6  # along the axes that grew


def test_a_state_that_cannot_be_fed_back_is_told_and_not_fed(tmp_path):
    nodes = [onnx.helper.make_node("Identity", ["x"], ["y"]),
             onnx.helper.make_node("Cast", ["h"], ["hn"], to=graphs.HALF)]  # fmt: skip
    path = graphs.saved(
        tmp_path / "net.onnx", nodes,
        {"x": (graphs.FLOAT, [1, 4]), "h": (graphs.FLOAT, [1, 2])},
        {"y": (graphs.FLOAT, [1, 4]), "hn": (graphs.HALF, [1, 2])},
    )  # fmt: skip
    model, inputs, found = settled(path, {"h": {"state_from": "hn"}})
    unknowns: list = []
    assert states.settle_state(model, list(inputs.values()), found, unknowns) == {}
    assert "hn was refused" in unknowns[0]["what"] and "float16" in unknowns[0]["what"]
    with pytest.raises(Refusal, match="state_from is nothing; outputs: y, hn"):
        settled(path, {"h": {"state_from": "nothing"}})


def test_numbers_and_words_of_a_torchscript_signature_come_from_the_contract(tmp_path, brief):
    class Scaled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(6, 2)

        def forward(self, x, sr: int, gain: float, loud: bool, mode: str, extra: int = 1):
            if sr != 8000:
                raise RuntimeError("only 8000 Hz")
            y = self.layer(x) * gain * extra
            return -y if loud and mode == "turned" else y

    torch.jit.script(Scaled().eval()).save(str(tmp_path / "net.pt"))
    folder = tools.explored(tmp_path, in_process=brief, checkpoint="net.pt", name="net")
    entries = {i["name"]: i for i in folder.need("io_contract")["inputs"]}
    assert entries["sr"]["fill"]["value"] == 8000 and "extra" not in entries
    assert entries["x"]["run_shape"] == [1, 6]
    told = {"inputs": {"extra": {"values": 3}, "gain": {"values": 2.0}, "loud": {"values": True},
                       "mode": {"values": "turned"}, "sr": {"values": 8000}}}  # fmt: skip
    again = tools.explored(tmp_path, in_process=brief, checkpoint="net.pt", name="net",
                           contract=told, directory="told")  # fmt: skip
    sample = again.need("inference")["samples"][0]
    x = torch.from_numpy(np.load(again.path(sample["files"]["x"][0])))
    module = torch.jit.load(str(tmp_path / "net.pt"))
    raw = np.load(again.path(sample["raw"][0]))["output"]
    assert np.allclose(raw, module(x, 8000, 2.0, True, "turned", 3).detach().numpy())


def test_an_argument_that_cannot_be_made_is_named(tmp_path, brief):
    class Lists(torch.nn.Module):
        def forward(self, parts: list[torch.Tensor]):
            return parts[0]

    torch.jit.script(Lists()).save(str(tmp_path / "net.pt"))
    with pytest.raises(HardStop, match=r"argument parts is a List\[Tensor\]"):
        tools.explored(tmp_path, in_process=brief, checkpoint="net.pt", name="net")


def test_the_reason_of_a_failed_try_is_shown_whole():
    long = "a b " * 400
    assert whole(ValueError(f"{long}\n  and {long}")).count("a b") == 800
    trace = "The following operation failed\nTraceback\nRuntimeError: sizes\ndo not match"
    assert whole(RuntimeError(trace)) == "RuntimeError: sizes do not match"


@given(st.lists(st.sampled_from(["batch", "n", "?", "", "time", 3, "2*n"]), min_size=1, max_size=4))
def test_every_plan_gives_every_axis_a_size_and_a_symbol_one_size(shape):
    shape = [s if isinstance(s, int) or s else "axis 1" for s in shape]
    entries = [{"name": n, "shape": shape, "dtype": "float32", "role": "data"} for n in "ab"]
    for plan in axes.plans(entries, {"n": 5}):
        one, other = (axes.shape_with(e, plan) for e in entries)
        for size, a, b in zip(shape, one, other, strict=True):
            assert a > 0 and (size != "n" or a == 5) and (size != "2*n" or a == 10)
            assert a == b or axes.NAMELESS.match(str(size))


@pytest.mark.parametrize(
    ("into", "out"),
    [("state", "stateN"), ("h", "hn"), ("h", "h_out"), ("r1i", "r1o"), ("c", "cn"),
     ("past_key_values.0.key", "present.0.key"), ("in_cache0", "out_cache0"),
     ("prev_hidden", "hidden"), ("decoder_state_in", "decoder_state_out")],
)  # fmt: skip
def test_names_that_tell_a_state_from_itself_one_step_later(into, out):
    assert roles.stem(into) == roles.stem(out) != ""


@pytest.mark.parametrize(("into", "out"), [("input", "output"), ("h", "c_out"), ("x", "y")])
def test_names_that_do_not(into, out):
    assert roles.stem(into) != roles.stem(out) or not roles.stem(into)


def sound(path: Path, rate: int, width: int = 2, channels: int = 1) -> np.ndarray:
    """Write a ramp as .wav; return what one channel of it is, -1 … 1."""
    ramp = np.linspace(-0.9, 0.9, 1000)
    whole_ = np.round(ramp * (2 ** (8 * width - 1) - 1)).astype(np.int64)
    if width == 1:
        whole_ = whole_ + 128
    raw = np.repeat(whole_[:, None], channels, 1).astype("<i8").tobytes()
    cut = np.frombuffer(raw, np.uint8).reshape(-1, 8)[:, :width].tobytes()
    with wave.open(str(path), "wb") as handle:
        handle.setnchannels(channels)
        handle.setsampwidth(width)
        handle.setframerate(rate)
        handle.writeframes(cut)
    return ramp


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2])
def test_sounds_are_read_with_their_rate(tmp_path, width, channels):
    ramp = sound(tmp_path / "a.wav", 22050, width, channels)
    found, rate = audio.read(tmp_path / "a.wav")
    assert rate == 22050 and np.allclose(found, ramp, atol=2 / 2 ** (8 * width - 1))
    assert audio.window(found, [1, 600], 1)[0, 399:402].tolist() == [found[999], 0, 0]
    whole = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: -width * channels - 1])  # in the middle of a sample
    assert np.array_equal(audio.read(tmp_path / "cut.wav")[0], found[:998])


def test_a_sound_is_fed_window_by_window_and_its_rate_must_be_the_stated_one(tmp_path, brief):
    graphs.voice(tmp_path / "voice.onnx")
    sound(tmp_path / "a.wav", 16000)
    folder = tools.explored(tmp_path, in_process=brief, checkpoint="voice.onnx", name="voice",
                            inputs="a.wav", samples=1)  # fmt: skip
    (sample,) = folder.need("inference")["samples"]
    assert sample["inputs"]["input"]["shape"] == [1, 512] and len(sample["steps"]) == 8
    sound(tmp_path / "b.wav", 44100)
    with pytest.raises(HardStop, match="b.wav has 44100 Hz, input sr says 16000"):
        tools.explored(tmp_path, in_process=brief, checkpoint="voice.onnx", name="voice",
                       inputs="b.wav", samples=1, directory="other")  # fmt: skip
    (tmp_path / "c.wav").write_bytes(b"RIFF no sound")
    with pytest.raises(Refusal, match="no .wav of plain numbers"):
        audio.read(tmp_path / "c.wav")
    data = bytearray((tmp_path / "a.wav").read_bytes())
    data[34:36] = (64).to_bytes(2, "little")  # bits of a sample
    (tmp_path / "d.wav").write_bytes(data)
    with pytest.raises(Refusal, match="d.wav has numbers of 64 bits"):
        audio.read(tmp_path / "d.wav")


def test_texts_are_read_by_the_tokenizer_beside_the_model(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 3, "b": 1, "?": 0}, "?"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "t.txt").write_text("a b a\n")
    entry = {"name": "input_ids", "dtype": "int64", "shape": ["batch", "sequence"]}
    found = texts.encoded(tmp_path / "t.txt", tmp_path / "tokenizer.json", entry, texts.IDS)
    assert found.tolist() == [[3, 1, 3]]
    fixed = texts.encoded(
        tmp_path / "t.txt", tmp_path / "tokenizer.json", {**entry, "shape": [1, 5]}, texts.MASK
    )
    assert fixed.tolist() == [[1, 1, 1, 0, 0]]


def test_texts_without_a_tokenizer_are_refused_before_the_model_runs(tmp_path, brief):
    graphs.tokens(tmp_path / "tokens.onnx")
    (tmp_path / "t.txt").write_text("a b")
    with pytest.raises(HardStop, match=r"no tokenizer\.json lies beside the model"):
        tools.explored(tmp_path, in_process=brief, checkpoint="tokens.onnx", name="t",
                       inputs="t.txt")  # fmt: skip
    assert texts.parts_of(opened(tmp_path / "tokens.onnx").inputs) == {
        "input_ids": texts.IDS, "attention_mask": texts.MASK,
    }  # fmt: skip
