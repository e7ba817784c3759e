"""A hand-off's folder of a tiny network with drawn weights, and tables that it scores."""

import json

import numpy as np
import pandas as pd
import torch
from changenet_pairs import COLUMNS, spec_data
from PIL import Image

from deft.changenet.model import build_model
from deft.changenet.onnx import bundle
from deft.changenet.onnx.export import export_onnx
from deft.changenet.onnx.two_stage import FIRST
from deft.changenet.spec import from_dict
from deft.changenet.weights import save_weights
from deft.score_kit.prepare import FACTS
from deft.score_kit.statistics import REFERENCE, reference

FOUR = {"num_input": 4, "input_map": {"D": 0, "A": 0, "C": 0, "B": 0}}
CASES = {  # keys of dataset.classify
    "one light": {},
    "euclidean": {"euclidean": True},
    "fixed batch": {"fixed": 2},
    "linear": {"num_input": 2, "input_map": {"A": 0, "B": 1}},
    "grid": {**FOUR, "concat_type": "grid", "grid_map": {"x": 2, "y": 2}},
}


def set_threshold(folder, threshold, first_margin=None):
    """Give a bundle another threshold, and its first stage another margin; nothing else is."""
    path = folder / FACTS
    facts = json.loads(path.read_text())
    facts["threshold"] = threshold
    if first_margin is not None:
        facts["first_stage"]["margin"] = first_margin
    path.write_text(json.dumps(facts))
    kpi = json.loads((folder / REFERENCE).read_text())
    (folder / REFERENCE).write_text(json.dumps({**kpi, "threshold": threshold}))


def made_bundle(
    folder, threshold=0.5, margin=1e-3, flips=0, views="one", first_margin=None, **classify
):
    """Export random weights into ``folder``; return (spec, weights).

    ``first_margin``: of a first stage of one view, where there is to be one.
    """
    data = spec_data()
    data["dataset"]["classify"] |= classify
    if classify.get("euclidean"):
        data["dataset"]["classify"].pop("euclidean")
        data["model"]["classify"]["difference_module"] = "euclidean"
        data["train"]["classify"] = {"loss": "contrastive"}
    data["export"] = {"batch_size": data["dataset"]["classify"].pop("fixed", -1)}
    spec = from_dict(data)
    torch.manual_seed(0)
    weights = folder.parent / "m.pth"
    save_weights(weights, build_model(spec), epoch=0, step=1)
    exported = export_onnx(spec, weights, folder / bundle.MODEL, views=views)
    facts = bundle.preprocessing(spec, exported, threshold=threshold, kpi_threshold=threshold)
    if first_margin is not None:
        first = export_onnx(spec, weights, folder / FIRST)
        facts["first_stage"] = {
            "file": FIRST,
            "sha256": first["sha256"],
            "margin": first_margin,
        }
    parity = {"pairs": 9, "largest_difference": 1e-8, "smallest_margin": margin}
    parity |= {"flips": flips, "above_noise": margin > 1e-6}
    record = {**exported, "kpi_rows": 9, "int8": None, "parity": {"at_safe_threshold": parity}}
    kpi = reference(np.linspace(0, 1, 9, dtype=np.float32), np.arange(9) < 5, threshold)
    bundle.write_bundle(folder, facts, record, kpi, run="run_a", phase="iter1")
    return spec, weights


def drawn_parts(root, spec, count=11, ext=".png"):
    """Draw pictures of many sizes below ``root``/images and a table of them; return both."""
    rng, images, rows = np.random.default_rng(3), root / "images", []
    goldens = spec.dataset.classify.num_golden
    for i in range(count):
        height, width = (int(n) for n in rng.integers(20, 90, 2))
        for side, names in (("in", [f"p{i}"]), ("gold", [f"p{i}", "p900", "p901"][:goldens])):
            folder = images / (f"{side}{i}" if goldens > 1 else side)
            folder.mkdir(parents=True, exist_ok=True)
            for name in names:
                for light in spec.lights:
                    shape = (height, width) if i % 3 == 0 else (height, width, 3)
                    pixels = rng.integers(0, 255, shape).astype(np.uint8)
                    suffix = f"_{light}" if light else ""
                    Image.fromarray(pixels).save(folder / f"{name}{suffix}{ext}", quality=90)
        folders = (f"in{i}", f"gold{i}") if goldens > 1 else ("in", "gold")
        rows.append((*folders, "PASS" if i % 3 else "bridge", f"p{i}"))
    table = root / "parts.csv"
    pd.DataFrame(rows, columns=COLUMNS).assign(note='a "b", ü').to_csv(table, index=False)
    return table, images
