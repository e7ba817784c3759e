"""A few tiny pairs on disk and a spec for them: 32-pixel pictures, a very small backbone."""

import numpy as np
import pandas as pd
import pytest
import torch
from changenet_pairs import COLUMNS, spec_data
from PIL import Image

from deft.changenet.spec import from_dict


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def workspace(tmp_path_factory):
    """A folder with train.csv (18 rows), val.csv (8 rows) and their pictures."""
    root = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(5)
    rows = []
    for folder in ("in", "gold"):
        (root / "images" / folder).mkdir(parents=True)
    for i in range(26):
        golden = rng.integers(40, 120, (40, 36, 3)).astype(np.uint8)
        test = golden.copy()
        label = "PASS" if i % 3 else "bridge"
        if label != "PASS":
            test[10:28, 8:26] = 250
        Image.fromarray(test).save(root / f"images/in/p{i}_A.png")
        Image.fromarray(golden).save(root / f"images/gold/p{i}_A.png")
        rows.append(("in", "gold", label, f"p{i}"))
    pd.DataFrame(rows[:18], columns=COLUMNS).to_csv(root / "train.csv", index=False)
    pd.DataFrame(rows[18:], columns=COLUMNS).to_csv(root / "val.csv", index=False)
    return root


@pytest.fixture
def spec():
    return from_dict(spec_data())


@pytest.fixture
def euclidean():
    data = spec_data(classify={"loss": "contrastive"})
    data["model"]["classify"]["difference_module"] = "euclidean"
    return from_dict(data)
