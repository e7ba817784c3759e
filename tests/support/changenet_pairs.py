"""Tables, pictures and spec of the tiny pairs that the ChangeNet tests train on."""

import numpy as np
import pandas as pd
from PIL import Image

COLUMNS = ["input_path", "golden_path", "label", "object_name"]
BACKBONE = "timm:test_resnet"


def spec_data(**train):
    """Return plain data of a spec for the workspace; ``train`` overrides keys of ``train``."""
    source = {"images_dir": "images"}
    return {
        "task": "classify",
        "model": {
            "backbone": {"type": BACKBONE},
            "decode_head": {
                "feature_strides": [4, 8, 16, 32],
                "decoder_params": {"embed_dim": 8},
            },
            "classify": {"difference_module": "learnable", "embed_dec": 6},
        },
        "dataset": {
            "classify": {
                "train_dataset": {"csv_path": "train.csv", **source},
                "validation_dataset": {"csv_path": "val.csv", **source},
                "image_ext": ".png",
                "num_input": 1,
                "input_map": {"A": 0},
                "image_width": 32,
                "image_height": 32,
                "batch_size": 6,
                "fpratio_sampling": 0.5,
                "augmentation_config": {"augment": True},
            }
        },
        "train": {
            "num_epochs": 3,
            "classify": {"loss": "ce", "cls_weight": [1, 3]},
            "optim": {"lr": 1e-3},
            **train,
        },
    }


def draw_pairs(root):
    """Write train.csv (18 rows), val.csv (8 rows) and their pictures below ``root``; return it."""
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
