"""What a file is, by its content; what is refused, with one clear line each and nothing written."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import explore_tools as tools
import numpy as np
import onnx
import pytest
import torch

from deft.core import pickles
from deft.core.errors import HardStop
from model_explorer import exported, formats


class Runs:
    """Pickled, it makes a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("files")
    out = {
        "timm": tools.timm_weights(root / "timm.pth"),
        "ckpt": tools.timm_weights(root / "light.ckpt", epoch=3),
        "safetensors": tools.timm_weights(root / "timm.safetensors"),
        "torchscript": tools.torchscript(root / "script.pt"),
        "torch_export": tools.exported(root / "program.pt2"),
        "onnx": tools.onnx_by_torch(root / "net.onnx"),
        "sklearn": tools.onnx_by_sklearn(root / "rows.onnx"),
    }
    state = tools.tiny_net().state_dict()
    torch.save(state, root / "old.pth", _use_new_zipfile_serialization=False)
    return {**out, "legacy": root / "old.pth"}


KINDS = {"timm": "state_dict", "ckpt": "state_dict", "safetensors": "state_dict",
         "torchscript": "torchscript", "torch_export": "torch_export", "onnx": "onnx",
         "sklearn": "onnx", "legacy": "state_dict"}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_a_file_is_known_by_its_content_whatever_it_is_called(files, name, tmp_path):
    assert formats.identify(files[name]).format == KINDS[name]
    renamed = tmp_path / "weights.bin"
    renamed.write_bytes(files[name].read_bytes())
    assert formats.identify(renamed).format == KINDS[name]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_a_file_that_is_cut_off_is_refused(files, name, share, tmp_path):
    whole = files[name].read_bytes()
    cut = tmp_path / files[name].name
    cut.write_bytes(whole[: max(1, int(share * len(whole)))])
    with pytest.raises(HardStop) as stop:
        formats.identify(cut)
    assert stop.value.code == "spec_invalid" and stop.value.file == str(cut)
    assert "\n" not in stop.value.message


@pytest.mark.parametrize("name", KINDS)
def test_damaged_bytes_are_refused_or_read_and_never_crash(files, name, tmp_path):
    whole, rng = files[name].read_bytes(), np.random.default_rng(5)
    path = tmp_path / files[name].name
    for reach in (64, 2000, len(whole)):
        for _ in range(8):
            damaged = bytearray(whole)
            for place in rng.integers(0, min(reach, len(whole)), 3):
                damaged[place] = rng.integers(0, 256)
            path.write_bytes(bytes(damaged))
            try:
                formats.identify(path)
            except HardStop as stop:
                assert stop.code in ("spec_invalid", "missing_input", "path_escape")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path, legacy):
    witness = tmp_path / "ran"
    path = tmp_path / "model.pth"
    torch.save(
        {"state_dict": {"w": torch.zeros(2)}, "hook": Runs(witness)}, path,
        _use_new_zipfile_serialization=not legacy,
    )  # fmt: skip
    with pytest.raises(HardStop) as stop:
        formats.identify(path)
    assert "run code" in stop.value.message and "posix.mkdir" in stop.value.message
    assert "allow_code" in stop.value.fix and not witness.exists()
    assert formats.identify(path, allow_code=True).format == "state_dict"
    assert not witness.exists()


def test_a_whole_pickled_module_names_its_class(tmp_path):
    path = tmp_path / "whole.pt"
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(HardStop) as stop:
        formats.identify(path)
    assert "torch.nn.modules.linear.Linear" in stop.value.message


def rewritten(source: Path, target: Path, change) -> Path:
    """Copy a zip, each member through ``change(name, data)``."""
    import zipfile

    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return target


def test_an_exported_program_whose_sizes_are_code_is_refused(files, tmp_path):
    def change(name: str, data: bytes) -> bytes:
        if name.endswith("model.json"):
            assert b"Symbol('s" in data
            return data.replace(b"Symbol('s", b"__import__('os').getcwd() or Symbol('s")
        return data

    path = rewritten(files["torch_export"], tmp_path / "evil.pt2", change)
    with pytest.raises(HardStop) as stop:
        formats.identify(path)
    assert "__import__" in stop.value.message


@pytest.mark.parametrize("plain", [False, True])
def test_an_exported_program_with_a_pickled_example_is_refused(files, tmp_path, plain):
    """Torch falls back to unpickling it; a pickle of protocol 0 looks like any text."""
    witness = tmp_path / "ran"

    def change(name: str, data: bytes) -> bytes:
        if not name.endswith("sample_inputs/model.pt"):
            return data
        if plain:
            return pickle.dumps(Runs(witness), protocol=0)
        bad = tmp_path / "example.pt"
        torch.save(Runs(witness), bad)
        return bad.read_bytes()

    path = rewritten(files["torch_export"], tmp_path / "evil.pt2", change)
    with pytest.raises(HardStop) as stop:
        formats.identify(path)
    assert ("pickled object" if plain else "posix.mkdir") in stop.value.message
    assert not witness.exists()


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Symbol('s77', positive=True, integer=True)", True),
        ("Max(1, s0 + 2*s1)", True),
        ("Eq(Mod(s0, 8), 0)", True),
        ("eval('1')", False),
        ("S('__import__')", False),
        ("().__class__", False),
        ("[x for x in (1,)]", False),
        ("lambda: 1", False),
        ("open('f')", False),
        ("Symbol(open)", False),
        ("s0 +", False),
    ],
)
def test_only_sizes_count_as_plain_expressions(text, plain):
    assert exported.plain_expression(text) is plain


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("((-2) + L['x'].size()[2]) != 1", True),
        ("Mod(L['a'][0].size()[1], 8) == 0 and 2 <= L['x'].stride()[0] <= 64", True),
        ("__import__('os').system('x')", False),
        ("L['x'].size.__globals__", False),
        ("L['x'].tofile('f')", False),
        ("open('f')", False),
        ("True, print(1)); print((1", False),
        ("L['\"+print(1)+\"'] > 1", False),
    ],
)
def test_only_comparisons_of_sizes_count_as_plain_guards(text, plain):
    assert exported.plain_guard(text) is plain


def test_a_free_exported_program_with_nested_arguments_is_accepted(tmp_path):
    class Nested(torch.nn.Module):
        def forward(self, x, *, scale):
            y = torch.einsum("bchw,bchw->bc", x, x) * scale
            return {"a": y, "b": (x.mean((2, 3)),)}

    free, path = torch.export.Dim.AUTO, tmp_path / "nested.pt2"
    program = torch.export.export(
        Nested(), (torch.rand(4, 3, 8, 8),), {"scale": torch.rand(1)},
        dynamic_shapes={"x": {0: free, 2: free, 3: free}, "scale": None},
    )  # fmt: skip
    torch.export.save(program, path)
    assert formats.identify(path).format == "torch_export"


def raw_pickle(witness: Path) -> bytes:
    """A pickle that looks like text, and that pickletools gives up on before its call."""
    return b"I0x10\n0" + pickle.dumps(Runs(witness), protocol=0)


def saved_pickle(witness: Path) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("archive/data.pkl", raw_pickle(witness))
        archive.writestr("archive/version", "3\n")
    return data.getvalue()


def hidden_behind_memory(witness: Path) -> bytes:
    """A pickle whose last texts are harmless names; the names that it calls are in its memory."""
    names = b"\x8c\x05posix\x940\x8c\x05mkdir\x940\x8c\x0bcollections0\x8c\x0bOrderedDict0"
    call = b"h\x00h\x01\x93" + pickle.dumps(str(witness), protocol=0)[:-1] + b"\x85R."
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x04" + names + call)
    return data.getvalue()


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("data/sample_inputs/model.pt", saved_pickle),
        ("data/sample_inputs/model.pt", hidden_behind_memory),
        ("data/constants/model.pt", raw_pickle),
        ("data/constants/opaque_obj_0", raw_pickle),
        ("data/constants/CUSTOM_OBJ_0", raw_pickle),
        ("data/weights/deeper/weight_0", raw_pickle),
        ("serialized_state_dict.json", raw_pickle),
        ("data/aotinductor/model/model.wrapper.so", raw_pickle),
    ],
)
def test_no_other_place_of_an_exported_program_may_hold_a_pickle_or_a_library(
    files, tmp_path, name, made
):
    witness = tmp_path / "ran"
    path = rewritten(files["torch_export"], tmp_path / "evil.pt2", lambda _, data: data)
    with zipfile.ZipFile(path) as archive:
        folder = archive.namelist()[0].split("/")[0]
        old = {n: archive.read(n) for n in archive.namelist()}
    old[f"{folder}/{name}"] = made(witness)
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in old.items():
            archive.writestr(member, data)
    with pytest.raises(HardStop, match="run code"):
        formats.identify(path)
    assert not witness.exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"guards_code": []', b'"guards_code": ["__import__(\'os\').getcwd()"]'),
        (b'"picture"', b'"picture=print(1)"'),
    ],
)
def test_an_exported_program_with_code_in_a_guard_or_a_name_is_refused(files, tmp_path, old, new):
    def change(name: str, data: bytes) -> bytes:
        if name.endswith("models/model.json"):
            assert old in data
            return data.replace(old, new)
        return data

    path = rewritten(files["torch_export"], tmp_path / "evil.pt2", change)
    with pytest.raises(HardStop, match=r"__import__|print"):
        formats.identify(path)


def test_an_archive_that_two_readers_would_read_differently_is_refused(files, tmp_path):
    """torch trusts the offsets at the end of a zip, Python looks in front of its end."""
    whole = files["torch_export"].read_bytes()
    path = tmp_path / "evil.pt2"
    path.write_bytes(whole + b"PK\5\6" + whole[-18:])
    with pytest.raises(HardStop):
        formats.identify(path)
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("m/archive_format", "m/data/weights/weight_0", "m/data/weights/WEIGHT_0"):
            archive.writestr(name, b"pt2")
    with pytest.raises(HardStop, match="twice"):
        formats.identify(path)


@pytest.mark.parametrize("made", [saved_pickle, hidden_behind_memory])
def test_the_loader_unpickles_nothing_even_if_it_were_not_looked_at(files, tmp_path, made):
    from model_explorer.kit.folder import Refusal
    from model_explorer.kit.torch_runtime import _exported

    witness = tmp_path / "ran"
    evil = made(witness)

    def change(name: str, data: bytes) -> bytes:
        return evil if name.endswith("sample_inputs/model.pt") else data

    path = rewritten(files["torch_export"], tmp_path / "evil.pt2", change)
    with pytest.raises(Refusal):
        _exported(path, torch.device("cpu"), allow_code=False)
    assert not witness.exists()


def test_lookups_of_a_pickle_are_read_without_running_it():
    assert pickles.globals_of(pickle.dumps({"a": 1})) == []
    assert pickles.unsafe(pickle.dumps(np.float64(1.0), protocol=2))
    assert "os.getcwd" in pickles.globals_of(b"cos\ngetcwd\n(tR.")
    two = pickle.dumps(1, protocol=2) + b"cos\ngetcwd\n(tR."
    assert pickles.unsafe(two) == ["os.getcwd"]


def external(tmp_path: Path) -> Path:
    model = onnx.load(tools.onnx_by_torch(tmp_path / "plain.onnx"))
    path = tmp_path / "big.onnx"
    onnx.save_model(
        model, str(path), save_as_external_data=True, location="big.data", size_threshold=0
    )
    return path


def test_external_data_of_a_function_is_looked_at_too(tmp_path):
    tensor = onnx.helper.make_tensor("c", onnx.TensorProto.FLOAT, [1], [0.0])
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../secret"
    node = onnx.helper.make_node("Constant", [], ["y"], value=tensor)
    model = onnx.load(tools.onnx_by_torch(tmp_path / "plain.onnx"))
    model.functions.append(onnx.helper.make_function(
        "own", "F", [], ["y"], [node], [onnx.helper.make_opsetid("", 18)]
    ))  # fmt: skip
    path = tmp_path / "function.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(HardStop) as stop:
        formats.identify(path)
    assert stop.value.code == "path_escape"
    entry.key, entry.value = "offset", "none"
    model.functions[0].node[0].attribute[0].t.CopyFrom(tensor)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(HardStop, match="no readable place"):
        formats.identify(path)


def test_a_zip_bomb_is_refused_before_anything_is_unpacked(tmp_path):
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * (30 << 20))
    with pytest.raises(HardStop, match="unpack to 31457280 bytes"):
        formats.identify(path)


def test_a_file_that_is_a_link_keeps_its_name_and_neighbours(tmp_path):
    """As in the cache of a model hub: snapshots/ links to blobs/, whose names are digests."""
    from model_explorer.request import located

    (tmp_path / "blobs").mkdir(), (tmp_path / "snapshot").mkdir()
    (tmp_path / "blobs/0a1b").write_text("")
    (tmp_path / "snapshot/model.onnx").symlink_to("../blobs/0a1b")
    found = located("snapshot/model.onnx", [tmp_path], "explore.checkpoint")
    assert found == tmp_path / "snapshot/model.onnx"


def test_external_data_must_lie_beside_the_model(tmp_path):
    path = external(tmp_path)
    assert [p.name for p in formats.identify(path).data_files] == ["big.data"]
    data = (tmp_path / "big.data").read_bytes()
    (tmp_path / "big.data").write_bytes(data[:10])
    with pytest.raises(HardStop, match="cut off"):
        formats.identify(path)
    (tmp_path / "big.data").unlink()
    with pytest.raises(HardStop) as stop:
        formats.identify(path)
    assert stop.value.code == "missing_input" and "'big.data'" in stop.value.message


def test_external_data_may_not_lead_elsewhere(tmp_path):
    path = external(tmp_path)
    model = onnx.load(str(path), load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../../etc/passwd"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(HardStop) as stop:
        formats.identify(path)
    assert stop.value.code == "path_escape"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.onnx", b"", "empty"),
        ("a.pth", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs"),
        ("a.engine", b"anything", "TensorRT"),
        ("a.pt", b"<!DOCTYPE html><html>not found</html>", "not a model file"),
        ("a.zip", b"PK\x03\x04" + b"\0" * 100, "cut off"),
        ("a.safetensors", b"\xff" * 40, "cut off"),
    ],
)
def test_what_is_no_model_says_what_it_is(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(HardStop) as stop:
        formats.identify(path)
    assert words in stop.value.message and stop.value.fix


def test_a_folder_with_one_model_is_that_model_and_with_two_a_question(tmp_path):
    first = tools.torchscript(tmp_path / "a.pt")
    (tmp_path / "notes.txt").write_text("x")
    assert formats.choose(tmp_path) == first
    tools.onnx_by_sklearn(tmp_path / "b.onnx")
    with pytest.raises(HardStop, match="a.pt, b.onnx"):
        formats.choose(tmp_path)
    (tmp_path / "preprocessing.json").write_text('{"file": "b.onnx"}')
    assert formats.choose(tmp_path).name == "b.onnx"
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(HardStop, match="no model file"):
        formats.choose(empty)
