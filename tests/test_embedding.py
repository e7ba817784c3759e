"""Encoders from a local folder (random weights), and embeddings that carry their encoder."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from deft.embedding import (
    CONFIG_NAME,
    OpenClipEncoder,
    check_same_encoder,
    open_clip_source,
    read_embeddings,
    write_embeddings,
)
from deft.errors import HardStop

TINY = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {
            "image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16,
        },
        "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "resize_mode": "squash",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """A folder in the hub's layout: configuration and weights of a tiny CLIP."""
    import torch
    from open_clip.model import CLIP
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    model = CLIP(**TINY["model_cfg"])
    save_file(
        {k: v.contiguous() for k, v in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    (folder / CONFIG_NAME).write_text(json.dumps(TINY))
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    paths = []
    for i in range(7):
        paths.append(folder / f"{i}.png")
        Image.fromarray(rng.integers(0, 255, (40, 50, 3), np.uint8)).save(paths[-1])
    return paths


def test_vectors_have_unit_length_and_do_not_depend_on_batches(staged, pictures):
    one = OpenClipEncoder("clip", str(staged), batch_size=4)
    vectors = one.embed(pictures)
    assert vectors.shape == (7, one.dim) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    backwards = one.embed(pictures[::-1])[::-1]
    assert np.array_equal(vectors, backwards)


def test_the_digest_follows_weights_and_preprocessing(staged, tmp_path):
    import shutil

    base = OpenClipEncoder("clip", str(staged)).digest
    assert OpenClipEncoder("clip", str(staged)).digest == base
    other = tmp_path / "other"
    shutil.copytree(staged, other)
    changed = json.loads((other / CONFIG_NAME).read_text())
    changed["preprocess_cfg"]["mean"] = [0.4, 0.5, 0.5]
    (other / CONFIG_NAME).write_text(json.dumps(changed))
    assert OpenClipEncoder("clip", str(other)).digest != base


@pytest.mark.parametrize("missing", ["folder", "config", "weights", "file"])
def test_missing_weights_name_the_file_and_how_to_get_it(staged, tmp_path, missing):
    folder = tmp_path / "enc"
    if missing != "folder":
        folder.mkdir()
    if missing == "weights":
        (folder / CONFIG_NAME).write_text("{}")
    where = staged / "open_clip_model.safetensors" if missing == "file" else folder
    with pytest.raises(HardStop) as stop:
        open_clip_source("siglip", str(where))
    assert stop.value.code == "missing_input"
    assert "huggingface-cli download" in str(stop.value) and str(tmp_path)[:4] in str(stop.value)


def test_offline_and_uncached_is_a_stop_without_any_connection(monkeypatch, tmp_path):
    import socket

    def refuse(*_):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(HardStop, match="downloads are off"):
        open_clip_source("siglip", None)


class Fake:
    name, dim, digest = "fake", 3, "abc"


def test_embeddings_round_trip_with_their_encoder(tmp_path):
    table = pd.DataFrame({"filepath": ["a", "b"], "label": ["PASS", "x"]})
    vectors = np.arange(6, dtype=np.float32).reshape(2, 3)
    path = write_embeddings(tmp_path / "e.parquet", table, vectors, Fake())
    again, read, meta = read_embeddings(path)
    assert meta == {"name": "fake", "dim": 3, "digest": "abc"}
    assert np.array_equal(read, vectors) and again["label"].tolist() == ["PASS", "x"]
    first = path.read_bytes()
    assert write_embeddings(path, table, vectors, Fake()).read_bytes() == first
    with pytest.raises(HardStop) as stop:
        check_same_encoder(meta, {"name": "fake", "digest": "abd"}, path)
    assert stop.value.code == "encoder_mismatch"
