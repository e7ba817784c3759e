"""Weights at pre-flight: every file by which numbers come in is opened before the approval."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from pathlib import Path

import pytest
import timm
import torch
import yaml
from safetensors.torch import save_file
from tiny_workspace import make_tiny_workspace

from deft.changenet.model import build_model
from deft.changenet.spec import load_spec
from deft.changenet.weights import read_state, save_weights
from deft.core.errors import HardStop
from deft.core.weight_files import refuse_foreign
from deft.preflight import checks_inputs, checks_machine, checks_model
from deft.preflight.check import OK, STOP, WARN, Check, Context
from deft.settings.config import defaults

SPEC = "specs/baseline_spec.yaml"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 345678\n"
WAYS = {
    "backbone_file": "model.backbone.pretrained_backbone_path",
    "start_weights": "train.pretrained_model_path",
    "resumed_weights": "train.resume_training_checkpoint_path",
    "seeded_weights": "iterations.baseline.best_ckpt_path",
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("drawn")
    return make_tiny_workspace(root / "w", base=6, validation=6, kpi=6, pool=6, pregen=2)


@pytest.fixture
def workspace(drawn: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(drawn, tmp_path / "w"))


def name_weights(workspace: Path, way: str, path: Path) -> None:
    if way == "seeded_weights":
        run = workspace / "results/run_x"
        run.mkdir(parents=True, exist_ok=True)
        entry = {"stage_completed": "train", "best_ckpt_path": str(path)}
        (run / "deft_state.json").write_text(json.dumps({"iterations": {"baseline": entry}}))
        return
    spec = yaml.safe_load((workspace / SPEC).read_text())
    node = spec
    *parents, last = WAYS[way].split(".")
    for part in parents:
        node = node[part]
    node[last] = str(path.relative_to(workspace))
    (workspace / SPEC).write_text(yaml.safe_dump(spec))


def checked(workspace: Path) -> dict[str, Check]:
    config = {**defaults(), "workspace": str(workspace), "encoder": "changenet", "device": "cpu"}
    ctx = Context(workspace, workspace / "results/run_x", config, {}, lambda text: None)
    list(checks_inputs.checks(ctx))
    found = list(checks_machine.checks(ctx))
    if all(check.status != STOP for check in found):  # as the pre-flight does
        found += checks_model.checks(ctx)
    return {check.id: check for check in found}


def the_stop(workspace: Path) -> HardStop:
    stops = [check for check in checked(workspace).values() if check.status == STOP]
    assert len(stops) == 1, [check.evidence for check in stops]
    assert stops[0].stop is not None and "\n" not in stops[0].stop.message
    return stops[0].stop


def whole(workspace: Path, path: Path, damage=None, **entries) -> Path:
    """A model file of the spec's own network."""
    spec = load_spec(workspace / SPEC)
    save_weights(path, build_model(spec), epoch=0, step=1)
    if damage or entries:
        data = read_state(path)
        state = {k: v.clone() for k, v in data["state_dict"].items()}
        data["state_dict"] = damage(state) if damage else state
        torch.save({**data, **entries}, path.with_name("damaged.pth"))
        path.with_name("damaged.pth").replace(path)
    return path


def with_nan(state):
    key = next(k for k in state if k.endswith("weight") and state[k].ndim > 1)
    state[key].view(-1)[5] = float("nan")
    return state


@pytest.mark.parametrize("way", [w for w in WAYS if w != "resumed_weights"])
def test_good_files_are_opened_and_fit(workspace, way):
    path = workspace / "augmentation/m.pth"
    if way == "backbone_file":
        torch.save(timm.create_model("test_convnext").state_dict(), path)
    else:
        whole(workspace, path)
    name_weights(workspace, way, path)
    found = checked(workspace)[way]
    assert found.status == OK and "was opened and fits" in found.evidence


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", ["pointer", "page", "cut", "other", "nan", "folder", "code"])
def test_every_way_in_is_looked_at(workspace, way, what):
    path = workspace / "augmentation/m.pth"
    words = {"pointer": "a Git LFS pointer of 75 bytes in place of the file of 345678 bytes",
             "page": "a web page", "cut": "cut off", "folder": "a folder",
             "code": "more than tensors and is refused: reading it would run",
             "nan": "1 tensor(s) of the file hold numbers that are not finite",
             "other": "missing"}[what]  # fmt: skip
    if what == "pointer":
        path.write_bytes(LFS)
    elif what == "page":
        path.write_text("<!DOCTYPE html><html>Sign in</html>")
    elif what == "folder":
        path.mkdir()
    elif what == "code":
        torch.save({"state_dict": torch.nn.Linear(1, 1)}, path)
    elif way == "backbone_file":
        name = "test_resnet" if what == "other" else "test_convnext"
        state = timm.create_model(name).state_dict()
        torch.save(with_nan(state) if what == "nan" else state, path)
    elif what == "other":
        whole(workspace, path, lambda s: {f"x.{k}": v for k, v in s.items()})
    else:
        whole(workspace, path, with_nan if what == "nan" else None, optimizer_states=[{}])
    if what == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    name_weights(workspace, way, path)
    stop = the_stop(workspace)
    assert words in stop.message and WAYS[way] in stop.message
    assert stop.code == "spec_invalid" and stop.file == str(path) and stop.fix


def test_a_file_that_cannot_be_gone_on_from(workspace):
    path = whole(workspace, workspace / "m.pth")
    name_weights(workspace, "resumed_weights", path)
    assert "holds no optimizer state" in the_stop(workspace).message


def test_seeded_weights_that_are_gone_are_told(workspace):
    name_weights(workspace, "seeded_weights", workspace / "gone.pth")
    found = checked(workspace)["seeded_weights"]
    assert found.status == WARN and "the baseline will be trained" in found.evidence


def test_staged_files_that_nothing_names_are_told(workspace):
    folder = workspace / "augmentation/backbone"
    folder.mkdir()
    (folder / "c_radio.safetensors").write_bytes(LFS)
    save_file({"a": torch.ones(3)}, folder / "good.safetensors")
    found = checked(workspace)["staged_weights"]
    assert found.status == WARN and "c_radio.safetensors is a Git LFS pointer" in found.evidence
    assert "good" not in found.evidence and "git lfs pull" in found.fix


def test_no_code_of_a_file_is_ever_run(workspace, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    for i, data in enumerate((pickle.dumps(Evil()), None)):
        path = workspace / f"evil{i}.pth"
        path.write_bytes(data) if data else torch.save({"state_dict": Evil()}, path)
        name_weights(workspace, "start_weights", path)
        assert "mkdir" in the_stop(workspace).message
    assert not (tmp_path / "ran").exists()


SAFE = struct.pack("<Q", 2) + b"{}"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.pth", b"", "empty"),
        ("a.pth", b"Entry not found", "a text of 15 bytes, not weights: 'Entry not found'"),
        ("a.pth", b'{"error": "gated"}', "a JSON text"),
        ("a.json", b'{"metadata": {"total_size": 3}, "weight_map": {}}', "split over several"),
        ("a.pth", b"\x1f\x8b\x08" + bytes(99), "a gzip archive"),
        ("a.pth", b"\x89HDF\r\n" + bytes(99), "an HDF5 file"),
        ("a.pth", b"GGUF" + bytes(99), "a GGUF file"),
        ("a.pth", b"PK\x03\x04" + bytes(99), "cut off"),
        ("a.pth", bytes(5000), "begins with zero bytes"),
        ("a.safetensors", struct.pack("<Q", 9000) + b'{"a"', "its header alone wants 9008 bytes"),
        ("a.safetensors", b"\x80\x02}q\x00.", "no safetensors file, whatever its name says"),
        ("a.pth", b"/annex/objects/SHA256E-s1--0.pth\n", "a git-annex pointer"),
        ("a.pth", b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a web page"),
        ("a.pth", "<!DOCTYPE html><html>".encode("utf-16"), "a web page"),
        ("a.pth", "Datei nicht gefunden – bitte prüfen".encode(), "a text of 38 bytes"),
        ("a.safetensors", SAFE, None),
        ("a.pth", SAFE, None),
        ("a.pth", b"\x80\x02}q\x00.", None),
    ],
)
def test_what_a_file_is(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content)
    if words is None:
        refuse_foreign(path)
        return
    with pytest.raises(HardStop) as stop:
        refuse_foreign(path)
    assert words in stop.value.message and stop.value.fix


def test_rights_links_and_pipes(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "link.pth").symlink_to(tmp_path / "gone.pth")
    for name, code, words in (
        ("pipe.pth", "spec_invalid", "no regular file"),
        ("link.pth", "missing_input", "a link to"),
        ("absent.pth", "missing_input", "does not exist"),
    ):
        with pytest.raises(HardStop, match=words) as stop:
            refuse_foreign(tmp_path / name)
        assert stop.value.code == code
    if os.geteuid():
        (tmp_path / "locked.pth").write_bytes(SAFE)
        (tmp_path / "locked.pth").chmod(0)
        with pytest.raises(HardStop, match="cannot be read"):
            refuse_foreign(tmp_path / "locked.pth")
