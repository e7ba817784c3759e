"""What explore refuses: one clear line each, and nothing is left behind."""

from __future__ import annotations

import subprocess
from pathlib import Path

import explore_tools as tools
import onnx
import pytest
import torch

from deft.core.errors import HardStop
from deft.settings import config
from model_explorer import refs


class Runs:
    """Pickled, it makes a folder when it is loaded."""

    def __reduce__(self):
        import os

        return (os.mkdir, ("/tmp/this_must_never_exist",))


def refusal(workspace: Path, **keys) -> HardStop:
    """Return the stop of an exploration; nothing but what was there may be in the workspace."""
    before = sorted(workspace.rglob("*"))
    with pytest.raises(HardStop) as stop:
        tools.explored(workspace, **keys)
    assert sorted(workspace.rglob("*")) == before
    assert "\n" not in stop.value.message and stop.value.fix
    return stop.value


@pytest.fixture
def model(tmp_path) -> Path:
    return tools.onnx_by_sklearn(tmp_path / "rows.onnx")


def test_a_pickle_that_would_run_code(tmp_path):
    torch.save({"a": Runs()}, tmp_path / "evil.pth")
    stop = refusal(tmp_path, checkpoint="evil.pth", name="timm:resnet18")
    assert stop.code == "spec_invalid" and "posix.mkdir" in stop.message
    assert not Path("/tmp/this_must_never_exist").exists()


def test_a_file_that_is_cut_off(tmp_path, model):
    model.write_bytes(model.read_bytes()[:-40])
    stop = refusal(tmp_path, checkpoint="rows.onnx", name="rows")
    assert stop.code == "spec_invalid" and "cut off" in stop.message


@pytest.mark.parametrize(
    "address",
    ["https://host/model.onnx", "hf-hub:timm/resnet18", "s3://bucket/m.pt", "www.host/m.pt",
     "https://user:secret@host/model.onnx"],
)  # fmt: skip
def test_an_address(tmp_path, address):
    stop = refusal(tmp_path, checkpoint=address, name="rows")
    assert "never downloaded" in stop.message and "secret" not in stop.text()


def test_external_data_that_is_missing(tmp_path):
    plain = onnx.load(tools.onnx_by_torch(tmp_path / "plain.onnx"))
    onnx.save_model(
        plain, str(tmp_path / "big.onnx"), save_as_external_data=True, location="big.data",
        size_threshold=0,
    )  # fmt: skip
    (tmp_path / "big.data").unlink()
    stop = refusal(tmp_path, checkpoint="big.onnx", name="net")
    assert stop.code == "missing_input" and "big.data" in stop.message


def test_a_cpu_only_request_with_a_provider_that_needs_a_card(tmp_path, model):
    stop = refusal(
        tmp_path, checkpoint="rows.onnx", name="rows", providers=["CUDAExecutionProvider"]
    )
    assert stop.code == "config_invalid" and "CUDAExecutionProvider" in stop.message


def test_an_experiment_folder_that_exists(tmp_path, model):
    (tmp_path / "tmp" / "mine").mkdir(parents=True)
    (tmp_path / "tmp" / "mine" / "notes.txt").write_text("keep me")
    stop = refusal(tmp_path, checkpoint="rows.onnx", name="rows", directory="tmp/mine")
    assert "exists already" in stop.message
    assert (tmp_path / "tmp/mine/notes.txt").read_text() == "keep me"


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, "checkpoint is not set"),
        ({"checkpoint": "w.pth"}, "nothing says which network"),
        ({"checkpoint": "no.onnx", "name": "x"}, "does not exist"),
        ({"checkpoint": "w.pth", "name": "unheard of"}, "nothing says which network"),
        ({"checkpoint": "w.pth", "name": "timm:resnet1888"}, "has no model"),
        ({"checkpoint": "w.pth", "name": "changenet"}, "needs its experiment spec"),
        ({"checkpoint": "w.pth", "name": "x", "class_path": "a.b:C"}, "needs the source"),
        ({"checkpoint": "w.pth", "source": "src", "class_path": "a.b:C"}, "neither in the source"),
        ({"checkpoint": "w.pth", "source": "src", "class_path": "a.b"}, "of the form"),
        ({"checkpoint": "rows.onnx", "repository": "ext::sh -c x"}, "no address of a repo"),
        ({"checkpoint": "rows.onnx", "repository": "file:///nowhere/at/all"}, "cannot be cloned"),
        ({"checkpoint": "rows.onnx", "source": "rows.onnx"}, "no folder"),
        ({"checkpoint": "rows.onnx", "name": "x", "environment": "pixi"}, "neither"),
    ],
)
def test_a_request_that_cannot_be_meant(tmp_path, model, keys, words):
    torch.save({"w": torch.zeros(1)}, tmp_path / "w.pth")
    (tmp_path / "src").mkdir()
    stop = refusal(tmp_path, **keys)
    assert words in stop.message


def test_a_file_that_says_what_it_is_needs_no_name(tmp_path, model, monkeypatch):
    folder = tools.explored(tmp_path, in_process=monkeypatch, checkpoint="rows.onnx")
    assert folder.root.name.startswith("rows-") and folder.need("inference")["samples"]
    report = (folder.root / "reports/stakeholder-report.md").read_text()
    assert report.startswith("# rows: can we use it?")


@pytest.mark.parametrize(
    ("group", "words"),
    [
        ({"checkpont": "x"}, "checkpont"),
        ({"install": "yes"}, "install"),
        ({"class_path": "__import__('os')"}, "class_path"),
        ({"repository_ref": "--upload-pack=x"}, "repository_ref"),
        ({"batch_sizes": []}, "batch_sizes"),
        ({"contract": {"input": {}}}, "contract"),
        ({"targets": {"latency_median_ms": "fast"}}, "targets"),
    ],
)
def test_a_mistake_in_the_group_stops_before_any_job(group, words):
    with pytest.raises(HardStop) as stop:
        config.resolve({"explore": group})
    assert stop.value.code == "config_invalid" and words in stop.value.text()


def test_inputs_that_were_given_must_fit(tmp_path, model, monkeypatch):
    import numpy as np

    np.save(tmp_path / "wide.npy", np.zeros((1, 5), np.float32))
    with pytest.raises(HardStop, match=r"wide_X.npy is \[1, 5\], input X wants \[1, 4\]"):
        tools.explored(
            tmp_path, in_process=monkeypatch, checkpoint="rows.onnx", name="rows", inputs="wide.npy"
        )
    (tmp_path / "notes.pdf").write_text("no input")
    with pytest.raises(HardStop, match="holds no pictures, sounds"):
        tools.explored(
            tmp_path, in_process=monkeypatch, checkpoint="rows.onnx", name="again",
            inputs="notes.pdf",
        )  # fmt: skip


def repository(root: Path) -> str:
    """Make a git repository with two commits and a licence; return its file:// address."""
    root.mkdir()
    (root / "LICENSE").write_text("Apache License\n")

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@t", *words],
            cwd=root, check=True, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout.strip()

    git("init", "-q", "-b", "main")
    for number in range(2):
        (root / "file.txt").write_text(str(number))
        git("add", "-A")
        git("commit", "-q", "-m", f"change {number}")
    return git("rev-parse", "HEAD")


def test_a_repository_is_cloned_shallow_with_its_commit(tmp_path, model, monkeypatch):
    commit = repository(tmp_path / "upstream")
    folder = tools.explored(
        tmp_path, in_process=monkeypatch, checkpoint="rows.onnx",
        repository=f"file://{tmp_path / 'upstream'}",
    )  # fmt: skip
    (ref,) = folder.need("provenance")["refs"]
    assert (ref["commit"], ref["kind"], ref["is_dirty"]) == (commit, "shallow clone", False)
    assert ref["licence"] == "LICENSE: Apache License"
    listed = subprocess.run(
        ["git", "log", "--oneline"], cwd=folder.root / ref["path"], capture_output=True, text=True
    )
    assert len(listed.stdout.splitlines()) == 1  # shallow
    assert commit in (folder.root / "reports/experiment-report.md").read_text()


def test_a_password_in_an_address_is_kept_nowhere(tmp_path, model, monkeypatch):
    repository(tmp_path / "upstream")
    for name, value in (
        ("COUNT", "1"), ("KEY_0", f"url.file://{tmp_path}/.insteadOf"),
        ("VALUE_0", "https://me:hunter2@host.invalid/"),
    ):  # fmt: skip
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    folder = tools.explored(
        tmp_path, in_process=monkeypatch, checkpoint="rows.onnx",
        repository="https://me:hunter2@host.invalid/upstream",
    )  # fmt: skip
    (ref,) = folder.need("provenance")["refs"]
    assert ref["origin"] == "https://***@host.invalid/upstream" and ref["commit"]
    for path in folder.root.rglob("*"):
        assert not path.is_file() or b"hunter2" not in path.read_bytes(), path


def test_an_air_gap_lets_no_repository_be_asked(tmp_path, model, monkeypatch):
    monkeypatch.setenv("AIR_GAPPED", "1")
    monkeypatch.setattr(refs.subprocess, "run", None)  # git is not even started
    with pytest.raises(HardStop, match="AIR_GAPPED"):
        refs.clone(tmp_path, "https://host.invalid/upstream", None)


def test_a_source_cannot_have_git_start_a_program(tmp_path):
    repository(tmp_path / "mysrc")
    witness, hook = tmp_path / "ran", tmp_path / "hook.sh"
    hook.write_text(f"#!/bin/sh\ntouch {witness}\n")
    hook.chmod(0o755)
    subprocess.run(["git", "config", "core.fsmonitor", str(hook)], cwd=tmp_path / "mysrc")
    (tmp_path / "experiment" / "refs").mkdir(parents=True)
    assert refs.link(tmp_path / "experiment", tmp_path / "mysrc")["commit"]
    assert not witness.exists()


def test_a_local_source_is_linked_with_its_commit_and_changes(tmp_path, model, monkeypatch):
    commit = repository(tmp_path / "mysrc")
    (tmp_path / "mysrc" / "file.txt").write_text("changed")
    folder = tools.explored(
        tmp_path, in_process=monkeypatch, checkpoint="rows.onnx", source="mysrc"
    )
    (ref,) = folder.need("provenance")["refs"]
    assert (ref["commit"], ref["kind"], ref["is_dirty"]) == (commit, "link", True)
    assert (folder.root / "refs/mysrc").resolve() == (tmp_path / "mysrc").resolve()
    unpacked = tmp_path / "mysrc" / "unpacked"
    unpacked.mkdir()
    (unpacked / "net.py").write_text("")
    folder = tools.explored(
        tmp_path, in_process=monkeypatch, checkpoint="rows.onnx", source="mysrc/unpacked"
    )
    assert folder.need("provenance")["refs"][0]["commit"] is None
