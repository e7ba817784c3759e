"""The specs that the project ships."""

from pathlib import Path

import pytest

from deft.changenet.model import build_model, state_bytes
from deft.changenet.spec import load_spec

FOLDER = Path(__file__).resolve().parents[2] / "config/specs"
SPECS = sorted(path.name for path in FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("name", SPECS)
def test_shipped_spec_is_one_that_runs(name):
    spec = load_spec(FOLDER / name)
    assert state_bytes(spec) > 1e5
    assert spec.learnable


def test_size_of_the_state_is_that_of_the_built_network():
    spec = load_spec(FOLDER / "demo_spec.yaml")
    built = build_model(spec).state_dict().values()
    assert state_bytes(spec) == sum(v.numel() * v.element_size() for v in built)


def test_reference_network_has_its_size():
    # TAO's count for this network: 153.93 million parameters.
    assert state_bytes(load_spec(FOLDER / "c_radio_v2_b_spec.yaml")) == pytest.approx(
        153.93e6 * 4, rel=1e-3
    )
