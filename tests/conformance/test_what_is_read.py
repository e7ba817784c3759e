"""Every file of the folder is read by a test, or counted here as left out, with the reason."""

from __future__ import annotations

import fnmatch

import pytest
from tao_reference import FOLDER, has, load_json, unit_names

# Pattern below the folder -> the test that reads it.
READ = {
    "README.md": "people",
    "whole.json": "tao_reference",
    "fill_check.json": "test_reference",
    "dataset/pairs.csv": "test_data_loader",
    "dataset/edge_cases.json": "test_data_loader",
    "dataset/images/*": "test_data_loader",
    "dataset/tensors*/dataset_cases.json": "test_data_loader",
    "dataset/tensors*/*.npz": "test_data_loader",
    "io/backbone_file_rules.json": "test_backbone_files",
    "io/inference_learnable.csv": "test_inference_tables",
    "io/inference_euclidean.csv": "test_inference_tables",
    "io/onnx_learnable_17_-1.json": "test_onnx_models",
    "io/onnx_euclidean_17_-1.json": "test_onnx_models",
    "io/run_learnable.json": "test_checkpoint_layout, test_freezing",
    "io/run_euclidean.json": "test_checkpoint_layout",
    "io/status_example.jsonl": "test_status",
    "loss/loss_and_lr.json": "test_decoder_units",
    "model/backbones.json": "test_whole_models",
    "sampler_metrics/sampler_metrics.json": "test_sampler_metrics",
    "train/train_step_*.json": "test_train_step",
    "units/units.json": "unit tests",
}
KNOWN_UNITS = (
    "conv_diff", "convffn", "decoder_*", "deform_inputs_*", "interaction_*", "mlp", "msdeformattn",
    "patch_generator_eval", "patch_generator_load_resample", "patch_generator_train_seed0",
    "spatial_prior", "tiny_cradio_adapter_224", "tiny_radio_224", "vit_blocks_tiny_input",
)  # fmt: skip
PARTS = (".json", ".npz", ".keys.csv")  # of a whole-model case
FILES = sorted(p.relative_to(FOLDER).as_posix() for p in FOLDER.rglob("*") if p.is_file())


def left_out(name: str) -> str | None:
    """Return why no test reads a file, None when one does."""
    if any(fnmatch.fnmatchcase(name, pattern) for pattern in READ):
        return None
    folder, _, file = name.partition("/")
    stem = file.removesuffix(".keys.csv").removesuffix(".json").removesuffix(".npz")
    if folder == "model":
        absent = [end for end in PARTS if not has(f"model/{stem}{end}")]
        return f"the case lacks {', '.join(absent)}" if absent else None
    if folder == "units":
        if stem not in unit_names():
            return "units.json does not describe it"
        known = any(fnmatch.fnmatchcase(stem, pattern) for pattern in KNOWN_UNITS)
        return None if known else "a building block of a kind that no test knows"
    return "a file of a kind that no test knows"


@pytest.mark.parametrize("name", [name for name in FILES if left_out(name)])
def test_left_out(name: str) -> None:
    pytest.skip(f"{name}: {left_out(name)}")


def test_the_rest_is_read() -> None:
    assert len([name for name in FILES if left_out(name) is None]) > 20
    described = load_json("units/units.json")["units"] if has("units/units.json") else {}
    assert set(unit_names()) <= set(described)
