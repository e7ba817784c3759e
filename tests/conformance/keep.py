"""Make the kept subset anew from a whole reference folder: ``python keep.py FOLDER``.

The subset is what a clone alone can check: each building block once at its smallest, one whole
C-RADIO v2-B and one FAN model, losses, schedules, sampler, metrics and one loader case.
"""

import json
import shutil
import sys
from pathlib import Path

KEPT = Path(__file__).resolve().parent / "kept"
UNITS = (
    "conv_diff",
    "convffn",
    "decoder_fan_strides",
    "decoder_ldm4",
    "deform_inputs_64x64",
    "interaction_extra1",
    "interaction_extra1_tiny_input",
    "mlp",
    "msdeformattn",
    "patch_generator_load_resample",
    "patch_generator_train_seed0",
    "tiny_cradio_adapter_224",
    "tiny_radio_224",
    "vit_blocks_tiny_input",
)
MODELS = ("learnable_radio_b_224", "euclid_fan_small_128")
LOADER_CASE, LIGHT = "one_light_down", "SolderLight"
KINDS = ("units", "model", "dataset/tensors_pillow13")
WHOLE = (
    "fill_check.json",
    "loss/loss_and_lr.json",
    "sampler_metrics/sampler_metrics.json",
    "model/backbones.json",
    "io/backbone_file_rules.json",
    "io/run_euclidean.json",
    "io/run_learnable.json",
    "io/status_example.jsonl",
    "dataset/pairs.csv",
    *(f"model/{name}{end}" for name in MODELS for end in (".json", ".npz", ".keys.csv")),
    *(f"units/{name}.npz" for name in UNITS),
    *(f"dataset/{folder}/{LOADER_CASE}.npz" for folder in ("tensors", "tensors_pillow13")),
)


def main(source: Path) -> None:
    """Replace the subset by what ``source`` holds."""
    shutil.rmtree(KEPT, ignore_errors=True)
    pictures = sorted(p.relative_to(source) for p in source.glob(f"dataset/**/*_{LIGHT}.png"))
    for name in [*WHOLE, *pictures]:
        (KEPT / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, KEPT / name)
    units = json.loads((source / "units/units.json").read_text())
    units["units"] = {name: units["units"][name] for name in UNITS}
    write(KEPT / "units/units.json", units)
    for folder in ("tensors", "tensors_pillow13"):
        cases = json.loads((source / f"dataset/{folder}/dataset_cases.json").read_text())
        cases["cases"] = {LOADER_CASE: cases["cases"][LOADER_CASE]}
        write(KEPT / f"dataset/{folder}/dataset_cases.json", cases)
    whole = {kind: len(list(source.glob(f"{kind}/*.npz"))) for kind in KINDS}
    write(KEPT / "whole.json", whole)  # lets a run without the whole folder say what it leaves out


def write(path: Path, data: object) -> None:
    path.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
