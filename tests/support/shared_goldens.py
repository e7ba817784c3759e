"""A table of the network's tests whose rows share goldens."""

import numpy as np
import pandas as pd
import torch
from changenet_pairs import COLUMNS, spec_data
from PIL import Image

from deft.changenet.data.pairs import open_pairs
from deft.changenet.model import build_model
from deft.changenet.spec import from_dict

ROWS, GOLDENS = 14, 3


def shared_goldens(root, euclidean=False, **classify):
    """Write 14 rows over 3 goldens, mixed; two goldens' files hold the same picture."""
    rng = np.random.default_rng(1)
    gold = [rng.integers(0, 255, (32, 32, 3)).astype(np.uint8) for _ in range(GOLDENS)]
    rows = []
    for i in range(ROWS):
        (root / f"images/in{i % 4}").mkdir(parents=True, exist_ok=True)
        (root / f"images/gold{i % 4}").mkdir(parents=True, exist_ok=True)
        name = f"part{i // 4}"
        Image.fromarray(rng.integers(0, 255, (32, 32, 3)).astype(np.uint8)).save(
            root / f"images/in{i % 4}/{name}_A.png"
        )
        # gold3 repeats gold0's pictures in files of their own.
        Image.fromarray(gold[i % 4 % GOLDENS]).save(root / f"images/gold{i % 4}/{name}_A.png")
        rows.append((f"in{i % 4}", f"gold{i % 4}", "PASS" if i % 3 else "ng", name))
    pd.DataFrame(rows, columns=COLUMNS).to_csv(root / "t.csv", index=False)
    data = spec_data(classify={"loss": "contrastive"} if euclidean else {"loss": "ce"})
    data["model"]["classify"]["difference_module"] = "euclidean" if euclidean else "learnable"
    data["dataset"]["classify"] |= classify
    spec = from_dict(data)
    torch.manual_seed(0)
    return spec, build_model(spec).eval(), open_pairs(spec, root / "t.csv", root / "images")
