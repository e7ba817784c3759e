"""The network's own backbone as an encoder."""

from __future__ import annotations

import numpy as np
import pytest
from changenet_pairs import spec_data
from PIL import Image

from deft.changenet.data.images import read_picture
from deft.changenet.data.pairs import normalise
from deft.changenet.model import build_model
from deft.changenet.spec import from_dict
from deft.changenet.weights import save_weights
from deft.embedding.encoders import changenet
from deft.embedding.encoders.base import embed_pictures
from deft.embedding.encoders.selftest import picture_paths
from deft.embedding.encoders.torch_encoder import Options


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("changenet") / "m.pth"
    save_weights(path, build_model(from_dict(spec_data())), epoch=0, step=1)
    return path


def test_pictures_are_those_of_the_loader(weights):
    spec = from_dict(spec_data())
    encoder = changenet.build(spec, weights, Options())
    for path in picture_paths():
        assert np.array_equal(encoder.prepare(path), read_picture(path, spec.picture_size))


def test_numbers_are_those_of_the_loader(weights):
    spec = from_dict(spec_data())
    encoder = changenet.build(spec, weights, Options(batch_size=5))
    batch = np.stack([encoder.prepare(path) for path in picture_paths()])
    seen = []
    encoder._module = lambda tensor: (seen.append(tensor.clone()), tensor.flatten(1))[1]
    encoder.forward(batch)
    assert seen[0].numpy().tobytes() == normalise(spec, batch).numpy().tobytes()


@pytest.mark.parametrize("backbone", ["timm:test_resnet", "timm:test_vit"])
def test_one_of_several_lights_is_taken(tmp_path, backbone):
    data = spec_data()
    data["model"]["backbone"]["type"] = backbone
    data["dataset"]["classify"] |= {"num_input": 2, "input_map": {"A": 0, "B": 1}}
    spec = from_dict(data)
    assert spec.tensor_size == (64, 32)
    save_weights(tmp_path / "m.pth", build_model(spec), epoch=0, step=1)
    encoder = changenet.build(spec, tmp_path / "m.pth", Options())
    Image.fromarray(np.full((40, 36, 3), 90, np.uint8)).save(tmp_path / "p0_A.png")
    assert embed_pictures(encoder, [tmp_path / "p0_A.png"]).shape == (1, encoder.dim)


def test_digest_follows_weights_and_preprocessing(weights, tmp_path):
    def digest(data, path):
        return changenet.build(from_dict(data), path, Options()).digest

    first = digest(spec_data(), weights)
    assert digest(spec_data(), weights) == first
    save_weights(tmp_path / "o.pth", build_model(from_dict(spec_data())), epoch=0, step=1)
    assert digest(spec_data(), tmp_path / "o.pth") != first
    data = spec_data()
    data["dataset"]["classify"]["augmentation_config"]["rgb_input_std"] = [0.2, 0.2, 0.2]
    assert digest(data, weights) != first
