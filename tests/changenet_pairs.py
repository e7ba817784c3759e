"""Columns and spec of the tiny pairs that the ChangeNet tests train on."""

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
