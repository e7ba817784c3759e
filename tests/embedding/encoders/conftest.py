"""Encoders of each family, staged once."""

import pytest
from encoder_folders import RADIO, RADIO_MODEL, changenet_spec, stage

from deft.changenet.backbones import radio
from deft.embedding.encoders import c_radio
from deft.embedding.encoders.opening import open_encoder
from deft.embedding.encoders.torch_encoder import Options


@pytest.fixture(scope="session")
def staged(tmp_path_factory):
    """Return name -> what ``encoder_weights`` names; made at first use."""
    root, done = tmp_path_factory.mktemp("encoders"), {}

    def get(name):
        if name not in done:
            done[name] = stage(name, root / name)
        return done[name]

    return get


@pytest.fixture(autouse=True)
def small_radio(monkeypatch):
    """Let the tiny C-RADIO be one of the known sizes."""
    sizes = {**radio.SIZES, f"{c_radio.PREFIX}{RADIO_MODEL}": RADIO}
    monkeypatch.setattr(c_radio, "SIZES", sizes)


@pytest.fixture
def opened(staged):
    """Open an encoder by name."""

    def get(name, folder=None, **options):
        path = folder or staged(name)
        return open_encoder(
            name, path, Options(**options), network=lambda: (changenet_spec(), path)
        )

    return get
