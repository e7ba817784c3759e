"""Each family against its own library: prepared bytes, embeddings, and pinned numbers."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from encoder_folders import DECIMALS, NAMES, PINNED, reference

from deft.core.errors import HardStop
from deft.embedding.encoders.base import Encoder, embed_pictures
from deft.embedding.encoders.selftest import picture_paths

pytestmark = pytest.mark.long

FLOAT_NOISE = 2e-6
PICTURES = picture_paths()


@pytest.mark.parametrize("name", NAMES)
def test_an_encoder_computes_what_its_library_does(name, staged, opened):
    encoder = opened(name, batch_size=2)
    prepared, wanted = reference(name, staged(name), PICTURES)
    found = np.stack([encoder.prepare(path) for path in PICTURES])
    assert found.dtype == np.uint8 and found.shape[1:] == (*encoder.size_px, 3)
    assert found.tobytes() == prepared.tobytes()
    vectors = embed_pictures(encoder, PICTURES)
    assert vectors.dtype == np.float32 and vectors.shape == (5, encoder.dim)
    assert np.abs(vectors - wanted).max() < FLOAT_NOISE
    assert isinstance(encoder, Encoder)


@pytest.mark.parametrize("name", NAMES)
def test_an_encoder_gives_the_pinned_numbers(name, opened):
    rows = json.loads(PINNED.read_text())[name]
    vectors = embed_pictures(opened(name, batch_size=5), PICTURES)
    wanted = np.array([rows[path.name] for path in PICTURES])
    assert wanted.shape == vectors.shape
    assert np.abs(vectors - wanted).max() < 10.0**-DECIMALS + FLOAT_NOISE
    # Five equal vectors would pass every comparison and say nothing.
    between = wanted @ wanted.T
    assert between[~np.eye(5, dtype=bool)].max() < 0.999


@pytest.mark.parametrize("name", NAMES)
def test_a_vector_does_not_depend_on_its_company(name, opened):
    encoder = opened(name, batch_size=4)
    vectors = embed_pictures(encoder, PICTURES)
    assert np.array_equal(embed_pictures(encoder, PICTURES[::-1])[::-1], vectors)
    assert np.array_equal(embed_pictures(encoder, PICTURES[3:4])[0], vectors[3])
    assert embed_pictures(encoder, []).shape == (0, encoder.dim)


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_is_near_and_another_encoder(name, opened):
    exact, fast = opened(name), opened(name, precision="bfloat16")
    assert exact.digest != fast.digest and exact.precision == "float32"
    both = [embed_pictures(encoder, PICTURES) for encoder in (exact, fast)]
    cosines = (both[0].astype(np.float64) * both[1]).sum(axis=1)
    assert not np.array_equal(*both) and cosines.min() > 0.999


@pytest.mark.parametrize("name", NAMES)
def test_onnx_runtime_computes_the_same(name, staged, opened, capsys):
    encoder = opened(name, batch_size=2, runtime="onnx")
    assert encoder.digest != opened(name).digest
    _, wanted = reference(name, staged(name), PICTURES)
    assert np.abs(embed_pictures(encoder, PICTURES) - wanted).max() < FLOAT_NOISE
    assert torch.backends.mha.get_fastpath_enabled() and not capsys.readouterr().out


@pytest.mark.slow
def test_compiling_changes_noise_alone(opened):
    exact, compiled = opened("dinov2", batch_size=2), opened("dinov2", batch_size=2, compile=True)
    assert exact.digest != compiled.digest
    both = [embed_pictures(encoder, PICTURES) for encoder in (exact, compiled)]
    assert np.abs(both[0] - both[1]).max() < 1e-5


def test_a_forward_pass_takes_exactly_its_batch(opened):
    encoder = opened("clip", batch_size=4)
    with pytest.raises(ValueError, match="instead of uint8"):
        encoder.forward(np.zeros((3, 32, 32, 3), np.uint8))
    with pytest.raises(ValueError, match="float32"):
        encoder.forward(np.zeros((4, 32, 32, 3), np.float32))


def test_an_unknown_precision_is_refused(opened):
    with pytest.raises(HardStop, match="bfloat16") as stop:
        opened("clip", precision="float8")
    assert stop.value.code == "config_invalid"


def test_the_digest_follows_files_and_nothing_else(staged, opened, tmp_path):
    first = opened("clip").digest
    assert opened("clip", batch_size=7).digest == first
    other = tmp_path / "other"
    shutil.copytree(staged("clip"), other)
    assert opened("clip", folder=other).digest == first
    path = other / "open_clip_config.json"
    path.write_text(path.read_text().replace("0.48145466", "0.48145467"))
    assert opened("clip", folder=other).digest != first


@pytest.mark.parametrize("size", [28, 70])
def test_one_edit_of_the_file_changes_the_size_of_a_timm_encoder(size, staged, opened, tmp_path):
    folder = tmp_path / "small"
    shutil.copytree(staged("dinov2"), folder)
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"]["input_size"] = [3, size, size]
    (folder / "config.json").write_text(json.dumps(config))
    encoder = opened("dinov2", folder=folder)
    assert encoder.size_px == (size, size) and encoder.digest != opened("dinov2").digest
    vectors = embed_pictures(encoder, PICTURES)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_a_picture_that_cannot_be_read_is_named(opened, tmp_path):
    encoder = opened("clip")
    (tmp_path / "x.png").write_bytes(PICTURES[0].read_bytes()[:300])
    with pytest.raises(HardStop, match="x.png") as stop:
        encoder.prepare(tmp_path / "x.png")
    assert stop.value.code == "image_invalid"
    with pytest.raises(HardStop, match="y.png") as stop:
        encoder.prepare(tmp_path / "y.png")
    assert stop.value.code == "missing_input"
