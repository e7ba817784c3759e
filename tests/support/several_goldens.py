"""A drawn workspace whose parts have several goldens, none of the part's own name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml
from PIL import Image
from tiny_workspace import COLUMNS, _write_csv, make_tiny_workspace

from deft.core import layout
from deft.tables.changenet_table import read_table

SIDE_PX = 224  # the least side at strides of 4 to 32 and windows of 7


def make_several(path: Path, **counts: int) -> Path:
    """Draw a workspace and give every part a folder ``golden/<part>`` of ok1 to ok3."""
    make_tiny_workspace(path, image_size=SIDE_PX, **counts)
    rng = np.random.default_rng(7)
    images = path / layout.KPI_IMAGES
    for name in layout.TABLES.values():
        rows = read_table(path / name).to_dict("records")
        for row in rows:
            part, folder = row["object_name"], f"golden/{row['object_name']}"
            own = images / row["golden_path"] / f"{part}_SolderLight.png"
            pixels = np.asarray(Image.open(own)).astype(float)
            own.unlink()
            (images / folder).mkdir(parents=True)
            for number in (1, 2, 3):
                noisy = np.clip(pixels + rng.normal(0, 4, pixels.shape), 0, 255).astype(np.uint8)
                Image.fromarray(noisy).save(images / folder / f"ok{number}_SolderLight.png")
            row["golden_path"] = folder
        _write_csv(path / name, rows, COLUMNS)
    spec = path / layout.SPEC
    data = yaml.safe_load(spec.read_text(encoding="utf-8"))
    data["dataset"]["classify"]["num_golden"] = 2
    spec.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return path
