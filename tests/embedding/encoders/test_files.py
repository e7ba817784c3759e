"""Files of an encoder: every missing one is named with the command that fetches it."""

from __future__ import annotations

import json
import re
import shutil
import socket

import pytest
import torch
from encoder_folders import NAMES
from safetensors.torch import load_file, save_file

from deft.core.credentials import credential, state_of
from deft.core.errors import HardStop
from deft.embedding.encoders import files as encoder_files
from deft.embedding.encoders.files import files_of, hub_files_missing, missing_from
from deft.embedding.encoders.opening import open_encoder
from deft.embedding.encoders.table import FAMILIES, PUBLISHED
from deft.embedding.encoders.table import NAMES as TABLE_NAMES
from deft.embedding.encoders.torch_encoder import Options
from deft.settings.config import resolve

STAGED = [name for name in NAMES if name != "changenet"]


def stop_of(call, *args, **more):
    with pytest.raises(HardStop) as caught:
        call(*args, **more)
    return caught.value


def test_the_configuration_takes_each_name_and_no_other():
    assert set(TABLE_NAMES) == set(NAMES)
    for name in TABLE_NAMES:
        assert resolve({"encoder": name})["encoder"] == name
    with pytest.raises(HardStop):
        resolve({"encoder": "resnet"})


@pytest.mark.parametrize("name", STAGED)
def test_a_staged_folder_is_complete(name, staged):
    found = files_of(name, staged(name))
    assert missing_from(name, staged(name)) == []
    assert found.weights.name == FAMILIES[PUBLISHED[name].family].weights[0]
    assert found.reference is None
    assert set(found.digests()) == {*found.configs, "weights"}


@pytest.mark.parametrize("name", STAGED)
def test_every_missing_file_is_named_at_once(name, staged, tmp_path):
    family = FAMILIES[PUBLISHED[name].family]
    (tmp_path / "empty").mkdir()
    error = stop_of(files_of, name, tmp_path / "empty")
    assert error.code == "missing_input"
    assert all(file in error.message for file in (*family.configs, family.weights[0]))
    for file in (*family.configs, family.weights[0]):
        folder = tmp_path / f"without_{file}"
        shutil.copytree(staged(name), folder)
        (folder / file).unlink()
        error = stop_of(files_of, name, folder)
        assert error.code == "missing_input" and error.file.endswith(file)
        named = set(re.findall(r"[\w.]+", error.message))
        assert named & {*family.configs, family.weights[0]} == {file}
        assert f"hf download {PUBLISHED[name].repository} " in error.fix
        assert file in error.fix and "encoder_weights=DIR" in error.fix


@pytest.mark.parametrize("name", STAGED)
def test_a_file_instead_of_a_folder_is_refused(name, staged):
    weights = files_of(name, staged(name)).weights
    error = stop_of(files_of, name, weights)
    assert error.code == "missing_input" and "guess" in error.message
    error = stop_of(files_of, name, weights / "no" / "folder")
    assert error.code == "missing_input" and "is no folder" in error.message


def test_gated_weights_say_so():
    assert "accept the licence" in PUBLISHED["dinov3"].advice()
    assert "HF_TOKEN=" in PUBLISHED["dinov3"].download()
    assert "HF_TOKEN" not in PUBLISHED["siglip"].advice()


@pytest.mark.parametrize("switch", ["HF_HUB_OFFLINE", "AIR_GAPPED"])
@pytest.mark.parametrize("name", STAGED)
def test_offline_and_uncached_stops_without_any_connection(name, switch, monkeypatch, tmp_path):
    def refuse(*_):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv(switch, "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert hub_files_missing(name) == list(PUBLISHED[name].files)
    error = stop_of(files_of, name, None)
    assert error.code == "missing_input" and "downloads are off" in error.message
    assert all(file in error.message for file in PUBLISHED[name].files)


@pytest.mark.parametrize("switch", [None, "AIR_GAPPED"])
def test_the_hubs_cache_is_used_without_a_connection(switch, monkeypatch, staged, tmp_path):
    """Even on a connected machine: the hub may have a newer version than the run began with."""
    if switch:
        monkeypatch.setenv(switch, "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    published = PUBLISHED["clip"]
    root = tmp_path / f"models--{published.repository.replace('/', '--')}"
    shutil.copytree(staged("clip"), root / "snapshots" / "abc")
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("abc")
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a connection was tried"))
    assert hub_files_missing("clip") == []
    encoder = open_encoder("clip", None, Options())
    assert encoder.digest == open_encoder("clip", staged("clip"), Options()).digest


def test_a_gated_repository_that_refuses(monkeypatch, tmp_path):
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError

    asked = []

    def refuse(repository, file, **given):
        asked.append(given["token"])
        error = GatedRepoError.__new__(GatedRepoError)
        raise error

    for switch in ("HF_HUB_OFFLINE", "AIR_GAPPED"):
        monkeypatch.delenv(switch, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    error = stop_of(files_of, "dinov3", None, token=lambda: "hf_secret")
    assert asked == ["hf_secret"] and "hf_secret" not in str(error)
    assert "gated" in error.message and "HF_TOKEN" in error.fix


def test_a_token_comes_from_the_environment_or_the_workspace(monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert credential(tmp_path, "HF_TOKEN") is None and state_of(tmp_path, "HF_TOKEN") == "unset"
    (tmp_path / ".env").write_text("HF_TOKEN_PATH=/x\nexport HF_TOKEN='abc'\nNGC_API_KEY_A=k\n")
    assert credential(tmp_path, "HF_TOKEN") == "abc"
    assert state_of(tmp_path, "HF_TOKEN") == "set (.env)"
    assert credential(tmp_path, "NGC_API_KEY") == "k"
    (tmp_path / ".env").write_text("NGC_KEY=n\n")  # NVIDIA's current name of it
    for name in ("NGC_API_KEY", "NGC_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert credential(tmp_path, "NGC_API_KEY") == "n"
    assert state_of(tmp_path, "NGC_API_KEY") == "set (.env)"
    monkeypatch.setenv("NGC_KEY", "m")
    assert credential(tmp_path, "NGC_API_KEY") == "m" and state_of(tmp_path, "NGC_API_KEY") == "set"
    (tmp_path / ".env").write_text("export HF_TOKEN='abc'\n")
    monkeypatch.setenv("HF_TOKEN", "def")
    assert credential(tmp_path, "HF_TOKEN") == "def" and state_of(tmp_path, "HF_TOKEN") == "set"


class Harmful:
    """Unpickling it would run code."""

    def __reduce__(self):
        return (open, ("/tmp/never", "w"))


@pytest.mark.parametrize("name", STAGED)
def test_pickled_code_is_refused(name, staged, tmp_path):
    folder = tmp_path / "pickled"
    shutil.copytree(staged(name), folder)
    weights = files_of(name, folder).weights
    weights.unlink()
    other = folder / FAMILIES[PUBLISHED[name].family].weights[-1]
    torch.save({"state_dict": {"x": Harmful()}}, other)
    error = stop_of(open_encoder, name, folder, Options())
    assert error.code == "spec_invalid" and "more than tensors" in error.message
    assert error.file == str(other)


@pytest.mark.parametrize("name", STAGED)
def test_plain_pickled_tensors_are_the_same_encoder(name, staged, opened, tmp_path):
    folder = tmp_path / "bin"
    shutil.copytree(staged(name), folder)
    weights = files_of(name, folder).weights
    torch.save(load_file(weights), folder / FAMILIES[PUBLISHED[name].family].weights[-1])
    weights.unlink()
    before = opened(name)._module.state_dict()
    after = opened(name, folder=folder)._module.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("damage", ["missing", "misshapen", "cut"])
@pytest.mark.parametrize("name", STAGED)
def test_weights_that_do_not_fit_are_refused(name, damage, staged, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(staged(name), folder)
    weights = files_of(name, folder).weights
    state = load_file(weights)
    victim = next(key for key in state if "blocks.1." in key or "visual.ln_post.weight" in key)
    if damage == "missing":
        del state[victim]
        save_file(state, weights)
    elif damage == "misshapen":
        state[victim] = torch.zeros(3, 3, 3)
        save_file(state, weights)
    else:
        weights.write_bytes(weights.read_bytes()[:-100])
    error = stop_of(open_encoder, name, folder, Options())
    assert error.code in ("config_invalid", "spec_invalid") and error.file == str(weights)
    assert damage == "cut" or "1 " + damage in error.message


@pytest.mark.parametrize("name", STAGED)
def test_a_broken_configuration_is_named(name, staged, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(staged(name), folder)
    config = files_of(name, folder).configs[PUBLISHED[name].files[0]]
    for text in ("{", "[]", "{}"):
        config.write_text(text)
        error = stop_of(open_encoder, name, folder, Options())
        assert error.code == "config_invalid" and error.file == str(config)


def test_an_architecture_that_cannot_be_built_is_named(staged, tmp_path):
    folder = tmp_path / "odd"
    shutil.copytree(staged("dinov2"), folder)
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"]["input_size"] = [3, 50, 50]  # no multiple of 14
    (folder / "config.json").write_text(json.dumps(config))
    error = stop_of(open_encoder, "dinov2", folder, Options())
    assert error.code == "config_invalid" and "50 × 50 px" in error.message
    assert encoder_files.REFERENCE_NAME == "selftest.json"


def test_c_radio_takes_its_normalisation_from_exactly_one_place(staged, opened, tmp_path):
    folder = tmp_path / "radio"
    shutil.copytree(staged("c_radio"), folder)
    path = folder / "preprocessor_config.json"
    settings = json.loads(path.read_text())
    plain = settings | {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    path.write_text(json.dumps(plain | {"do_normalize": True}))
    assert "both" in stop_of(opened, "c_radio", folder=folder).message
    weights = folder / "model.safetensors"
    state = {k: v for k, v in load_file(weights).items() if "conditioner" not in k}
    save_file(state, weights)
    assert opened("c_radio", folder=folder).preprocessing.mean == (0.1, 0.2, 0.3)
    path.write_text(json.dumps(plain))
    assert "neither" in stop_of(opened, "c_radio", folder=folder).message


def test_c_radio_takes_its_summary_tokens_from_weights_or_teachers(staged, opened, tmp_path):
    folder = tmp_path / "radio"
    shutil.copytree(staged("c_radio"), folder)
    weights, path = folder / "model.safetensors", folder / "config.json"
    state = load_file(weights)
    del state["radio_model.summary_idxs"]
    save_file(state, weights)
    assert "summary_idxs" in stop_of(opened, "c_radio", folder=folder).message
    config = json.loads(path.read_text())
    clip, sam = {"name": "clip"}, {"name": "sam", "use_summary": False}
    config["args"]["teachers"] = [clip, sam, {"name": "dino", "use_summary": True}]
    path.write_text(json.dumps(config))
    assert opened("c_radio", folder=folder)._module.backbone.size.summary_tokens == (0, 2)
    config["args"]["teachers"] = [sam]
    path.write_text(json.dumps(config))
    assert "tokens ()" in stop_of(opened, "c_radio", folder=folder).message
