"""The rules by which inputs and weights are filled, before anything is compared through them."""

import numpy as np
import pytest
from tao_reference import FOLDER, KEPT, filled, load_json, model_cases, picture, unit_names


def tensors():
    return {k: v for k, v in load_json("fill_check.json").items() if "crc32" in v}


@pytest.mark.parametrize("key", sorted(tensors()))
def test_filled_tensors(key):
    case = tensors()[key]
    flat = filled(key, tuple(case["shape"])).ravel()
    assert flat[: len(case["first4"])] == pytest.approx(case["first4"], abs=1e-7)
    assert flat[-len(case["last2"]) :] == pytest.approx(case["last2"], abs=1e-7)


def test_filled_pictures():
    facts = load_json("fill_check.json")["input_x1 (seed 101, 3x3x224x224)"]
    found = picture(101, 3, 224, 224).numpy()
    assert found.ravel()[:4] == pytest.approx(facts["first4"], abs=1e-6)
    assert found.ravel()[-2:] == pytest.approx(facts["last2"], abs=1e-6)
    assert found.astype(np.float64).mean() == pytest.approx(facts["mean"], abs=1e-6)
    assert found.astype(np.float64).std() == pytest.approx(facts["std"], abs=1e-6)


def test_there_is_something_to_compare():
    assert len(unit_names()) >= 14 and model_cases(), FOLDER


def test_the_kept_subset_is_part_of_the_project():
    assert (KEPT / "units/units.json").is_file()
