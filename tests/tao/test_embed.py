"""The encoder of the mining stage in TAO's container: order, length, digest, tokens."""

from __future__ import annotations

import json

import numpy as np
import pytest

from deft.embedding import CONFIG_NAME, OpenClipEncoder
from deft.errors import HardStop
from deft.steps.pool import open_encoder
from deft.tao import embed

TINY = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {
            "image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16,
        },
        "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {
        "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic", "resize_mode": "squash",
    },
}  # fmt: skip


@pytest.fixture
def staged(context):
    """A folder with the names of both layouts: the hub's, and the stand-in's own."""
    import torch
    from open_clip.model import CLIP
    from safetensors.torch import save_file

    folder = context.workspace / "augmentation/clip"
    folder.mkdir()
    torch.manual_seed(0)
    state = {k: v.contiguous() for k, v in CLIP(**TINY["model_cfg"]).state_dict().items()}
    for name in ("model.safetensors", "open_clip_model.safetensors"):
        save_file(state, folder / name)
    for name in ("config.json", CONFIG_NAME):
        (folder / name).write_text(json.dumps(TINY))
    return folder


def opened(context, weights="augmentation/clip", name="clip"):
    return open_encoder(
        context, name, weights, device="auto", batch_size=4, threads=1, job=("iter1", "data_mining")
    )


def test_vectors_are_those_of_the_encoder_in_the_order_asked(docker, context, staged):
    pictures = sorted(context.image_root.rglob("*.png"))[:6]
    asked = [*pictures, pictures[2]]  # the same picture twice
    encoder = opened(context)
    vectors = encoder.embed(asked)
    expected = OpenClipEncoder("clip", str(staged), batch_size=4).embed(asked)
    assert encoder.dim == 16 and vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    np.testing.assert_array_equal(vectors[6], vectors[2])
    (call,) = docker.calls("run")
    assert call[call.index("embedding") + 1] == "image_embeddings"
    assert not any("HF_TOKEN" in text for text in call)
    docker.fail(embed="a row less")
    with pytest.raises(HardStop) as caught:
        encoder.embed(pictures)
    assert caught.value.code == "encoder_mismatch" and "first missing" in caught.value.message


def test_the_digest_is_of_image_and_weights(docker, context, staged):
    first = opened(context).digest
    assert opened(context).digest == first
    images = json.loads((docker.folder / "images.json").read_text())
    docker.have({name: f"{id}0" for name, id in images.items()})
    second = opened(context).digest
    staged.joinpath("config.json").write_text("{}")
    assert len({first, second, opened(context).digest}) == 3


def test_a_missing_file_is_named(docker, context, staged):
    (staged / "config.json").unlink()
    with pytest.raises(HardStop) as caught:
        opened(context)
    assert caught.value.code == "missing_input" and "config.json" in caught.value.message
    assert "openai/clip-vit-base-patch16" in caught.value.fix


def test_the_token_goes_by_name_and_only_where_something_is_fetched(
    docker, context, monkeypatch, tmp_path
):
    seen = []
    monkeypatch.setattr(embed, "hub_home", lambda: tmp_path / "hub")
    monkeypatch.setattr(embed.Work, "run", lambda self, argv, **how: seen.append(how))
    monkeypatch.setattr(embed, "vectors_of", lambda path, names: np.ones((len(names), 2)))
    (context.workspace / ".env").write_text("export HF_TOKEN='hf_secret'\n")
    pictures = sorted(context.image_root.rglob("*.png"))[:1]
    for cached in (False, True):
        monkeypatch.setattr(embed, "cached", lambda name, cached=cached: cached)
        opened(context, "", "siglip").embed(pictures)
    fetching, local = seen
    assert fetching["secrets"] == {"HF_TOKEN": "hf_secret"} and fetching["written"][0].writable
    assert local["secrets"] == {} and not local["written"][0].writable
    assert ("HF_HUB_OFFLINE", "1") in local["env"] and ("HF_HUB_OFFLINE", "1") not in fetching[
        "env"
    ]
    assert "hf_secret" not in json.dumps([list(map(str, how["env"])) for how in seen])
    monkeypatch.setenv("AIR_GAPPED", "1")
    monkeypatch.setattr(embed, "cached", lambda name: False)
    with pytest.raises(HardStop) as caught:
        opened(context, "", "siglip")
    assert caught.value.code == "missing_input"


def test_changenet_is_computed_here(docker, done):
    from deft.changenet.features import ChangeNetEncoder

    found = open_encoder(done, "changenet", "", device="auto", batch_size=4, threads=1)
    assert isinstance(found, ChangeNetEncoder) and not docker.calls()
