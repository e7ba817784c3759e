"""A few tiny pairs on disk and a spec for them: 32-pixel pictures, a very small backbone."""

import pytest
import torch
from changenet_pairs import draw_pairs, spec_data

from deft.changenet.spec import from_dict


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def workspace(tmp_path_factory):
    """A folder with train.csv (18 rows), val.csv (8 rows) and their pictures."""
    return draw_pairs(tmp_path_factory.mktemp("pairs"))


@pytest.fixture
def spec():
    return from_dict(spec_data())


@pytest.fixture
def euclidean():
    data = spec_data(classify={"loss": "contrastive"})
    data["model"]["classify"]["difference_module"] = "euclidean"
    return from_dict(data)
