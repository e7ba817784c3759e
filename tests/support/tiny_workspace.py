"""A tiny synthetic PCB workspace for tests: every input of the loop, drawn in a moment.

Each part has its own golden picture (a coarse random pattern). A good picture is the golden with a
little noise; `bridge` adds a bright bar, `missing` a dark patch. All pictures differ, so that no
leakage check fires unless a test plants a copy.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

COLUMNS = [
    "input_path",
    "golden_path",
    "label",
    "object_name",
    "project",
    "boardname",
    "comp_type_2",
    "mpass_mfail",
    "is_valid",
    "comp_name",
    "part_type",
    "number_of_pins",
    "description",
    "comp_type_1",
]
DEFECTS = ("bridge", "missing")


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def _draw(rng: np.random.Generator, label: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (test, golden) pictures of one part, both (size, size, 3) uint8."""
    coarse = rng.integers(40, 190, (8, 8, 3))
    step = -(-size // 8)
    golden = np.kron(coarse, np.ones((step, step, 1)))[:size, :size]
    test = np.clip(golden + rng.normal(0, 6, golden.shape), 0, 255)
    at, width = int(rng.integers(size // 8, size // 2)), max(size // 4, 2)
    if label == "bridge":
        test[at : at + width, :, :] = (250, 250, 230)
    elif label == "missing":
        test[at : at + width, at : at + 2 * width, :] = (5, 5, 10)
    return test, golden


def _write_csv(path: Path, rows: list[dict[str, str]], columns: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, columns, lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows(rows)


def _label(index: int, ng_every: int) -> str:
    """Every `ng_every`-th row is defective, the defect types taking turns."""
    if index % ng_every:
        return "PASS"
    return DEFECTS[(index // ng_every) % len(DEFECTS)]


def tiny_spec(
    *,
    image_root: str = "kpi/images",
    backbone: str = "timm:test_convnext",
    in_channels: tuple[int, ...] = (24, 32, 48, 64),
    lights: tuple[str, ...] = ("SolderLight",),
    ext: str = ".png",
    image_size: int = 32,
    batch_size: int = 4,
    num_epochs: int = 2,
) -> dict:
    """A classify spec in TAO's schema, small enough for a few seconds of training on a CPU."""

    def dataset(table: str) -> dict[str, str]:
        return {"csv_path": table, "images_dir": image_root}

    return {
        "task": "classify",
        "results_dir": "results",
        "model": {
            "backbone": {"type": backbone, "pretrained_backbone_path": None},
            "decode_head": {
                "feature_strides": [4, 8, 16, 32],
                "in_channels": list(in_channels),
                "decoder_params": {"embed_dim": 32},
            },
            "classify": {
                "train_margin_euclid": 2.0,
                "eval_margin": 0.5,
                "embedding_vectors": 5,
                "embed_dec": 5,
                "difference_module": "learnable",
                "learnable_difference_modules": 4,
            },
        },
        "dataset": {
            "classify": {
                "train_dataset": dataset("train/base/training_set.csv"),
                "validation_dataset": dataset("train/base/validation_set.csv"),
                "test_dataset": dataset("kpi/testing_set.csv"),
                "infer_dataset": dataset("kpi/testing_set.csv"),
                "image_ext": ext,
                "batch_size": batch_size,
                "workers": 0,
                "fpratio_sampling": 0.5,
                "num_input": len(lights),
                "input_map": {light: i for i, light in enumerate(lights)},
                "concat_type": "linear",
                "grid_map": {"x": 1, "y": len(lights)},
                "image_width": image_size,
                "image_height": image_size,
                "num_golden": 1,
                "num_classes": 2,
                "augmentation_config": {
                    "rgb_input_mean": [0.485, 0.456, 0.406],
                    "rgb_input_std": [0.226, 0.226, 0.226],
                    "augment": False,
                },
            }
        },
        "train": {
            "num_gpus": 1,
            "num_epochs": num_epochs,
            "checkpoint_interval": 1,
            "validation_interval": 1,
            "seed": 1234,
            "pretrained_model_path": None,
            "resume_training_checkpoint_path": None,
            "classify": {"loss": "ce", "cls_weight": [1.0, 3.0]},
            "optim": {
                "lr": 0.001,
                "optim": "adamw",
                "policy": "linear",
                "momentum": 0.9,
                "monitor_name": "val_loss",
                "weight_decay": 0.01,
            },
            "precision": "32-true",
        },
    }


def make_tiny_workspace(
    path: Path,
    *,
    seed: int = 0,
    base: int = 24,
    validation: int = 12,
    kpi: int = 24,
    pool: int = 30,
    pregen: int = 4,
    ng_every: int = 3,
    image_root: str = "kpi/images",
    lights: tuple[str, ...] = ("SolderLight",),
    ext: str = ".png",
    image_size: int = 32,
    batch_size: int = 4,
    num_epochs: int = 2,
    backbone: str = "timm:test_convnext",
    in_channels: tuple[int, ...] = (24, 32, 48, 64),
    pool_file_paths: bool = True,
    defect_spec: bool = False,
) -> Path:
    """Draw a whole workspace under `path` and return it.

    Row counts are per table. `ng_every=3` makes every third row defective (bridge and missing in
    turns). `pool_file_paths` writes the pool's `input_path` as a file, the quirk of real pools.
    `defect_spec` adds `defect_spec.jsonl` with the true counts. Same arguments, same bytes.
    """
    path = Path(path)
    rng = np.random.default_rng(seed)
    root = path / image_root

    def part(folder: Path, golden: Path, name: str, label: str) -> None:
        for light in lights:
            test, reference = _draw(rng, label, image_size)
            _save(folder / f"{name}_{light}{ext}", test)
            _save(golden / f"{name}_{light}{ext}", reference)

    def table(count: int, role: str, first: int) -> list[dict[str, str]]:
        rows = []
        for i in range(count):
            label = _label(i, ng_every)
            board, name = f"{role}{i % 2}", f"C{first + i:04d}@1"
            part(root / role / board, root / "golden" / board, name, label)
            rows.append(
                {
                    "input_path": f"{role}/{board}",
                    "golden_path": f"golden/{board}",
                    "label": label,
                    "object_name": name,
                    "boardname": board,
                    "comp_name": name.split("@")[0],
                }
            )
        return rows

    base_rows = table(base, "base", 0)
    _write_csv(path / "train/base/training_set.csv", base_rows, COLUMNS)
    validation_rows = table(validation, "val", 1000)
    _write_csv(path / "train/base/validation_set.csv", validation_rows, COLUMNS)
    _write_csv(path / "kpi/testing_set.csv", table(kpi, "kpi", 2000), COLUMNS)

    pool_dir, pool_rows = path / "augmentation/mining_pool", []
    for i in range(pool):
        label, name = _label(i, ng_every), f"R{3000 + i}@1"
        part(pool_dir / "images", root / "golden/pool", name, label)
        file = f"images/{name}_{lights[0]}{ext}"
        pool_rows.append(
            {
                "input_path": file if pool_file_paths else "images",
                "golden_path": "golden/pool",
                "label": label,
                "object_name": name,
                "boardname": "line1",
            }
        )
    _write_csv(pool_dir / "mining_pool.csv", pool_rows, COLUMNS)

    pairs, counts = path / "augmentation/anomalygen", dict.fromkeys(DEFECTS, 0)
    for i in range(pregen):
        defect = DEFECTS[i % len(DEFECTS)]
        test, reference = _draw(rng, defect, image_size)
        _save(pairs / "reconstructed_image" / f"B{i:03d}+{defect}_{i}.png", test)
        _save(pairs / "original_image" / f"B{i:03d}+{defect}_{i}.png", reference)
        counts[defect] += 1
    if defect_spec:
        lines = [json.dumps({"defect_type": k, "count": v}) for k, v in counts.items() if v]
        (pairs / "defect_spec.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")

    spec = tiny_spec(
        image_root=image_root,
        backbone=backbone,
        in_channels=in_channels,
        lights=lights,
        ext=ext,
        image_size=image_size,
        batch_size=batch_size,
        num_epochs=num_epochs,
    )
    (path / "specs").mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(spec, sort_keys=False)
    (path / "specs/baseline_spec.yaml").write_text(text, encoding="utf-8")
    return path
