"""The inputs of the experiment: what was found, else made to fit the contract; the same every
time.
"""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from .folder import Folder
from .preprocess import item
from .settle import feed_of

SHAPES = 7  # figures drawn on a made-up picture
SMALLEST_PX = 32


def prepare(folder: Folder) -> str:
    """Write ``outputs/inputs.json`` and the files it names; return the summary line.

    Found inputs (``outputs/found_inputs.json``) win when all of them fit the contract.
    """
    parameters, contract = folder.parameters, folder.need("io_contract")
    found = folder.read("found_inputs") or {"items": [], "searched": [], "why_none": "not searched"}
    count = int(parameters["samples"])
    if found["items"]:
        samples = [
            {**entry, "id": f"found_{i:03d}"} for i, entry in enumerate(found["items"][:count])
        ]
        kind, why = "found", "found in the workspace, or given as explore.inputs"
    else:
        for old in folder.path("inputs").glob("made_*"):
            shutil.rmtree(old)
        samples = [made(folder, contract, i, int(parameters["seed"]) + i) for i in range(count)]
        kind, why = "synthesised", found["why_none"]
    for sample in samples:
        item(folder, contract, sample)  # each must fit before anything is measured
    told = {key: found[key] for key in ("rows_from", "chosen_on", "answers_from") if found.get(key)}
    folder.write(
        "inputs",
        {"kind": kind, "why": why, "searched": found["searched"], "samples": samples, **told},
    )
    return f"{len(samples)} {kind} ({why})"


def made(folder: Folder, contract: dict[str, Any], index: int, seed: int) -> dict[str, Any]:
    """Return a made-up sample, its files written: pictures where the preprocessing is known."""
    name = f"made_{index:03d}"
    place = folder.path("inputs") / name
    place.mkdir(parents=True, exist_ok=True)
    files: dict[str, list[str]] = {}
    golden = drawn(seed, contract)
    shapes = {i["name"]: i["run_shape"] for i in contract["inputs"]}
    steps = [
        feed_of(contract["inputs"], shapes, seed + 1000 * n)
        for n in range(contract.get("steps") or 1)
    ]
    for entry in contract["inputs"]:
        rule = contract["preprocess"].get(entry["name"])
        stem = entry["name"].replace("/", "_").replace(":", "_").replace(".", "_")
        if rule:
            picture = golden
            if rule.get("side") == "test" and index % 2:
                picture = marked(golden)
            total = int(rule.get("pictures", 1)) * len(rule.get("lights") or [""])
            names = [
                f"inputs/{name}/{stem}{f'_{i}' if total > 1 else ''}.png" for i in range(total)
            ]
            for file in names:
                picture.save(folder.path(file))
            files[entry["name"]] = names
        else:
            fed = steps if entry.get("role", "data") == "data" else steps[:1]
            names = [
                f"inputs/{name}/{stem}{f'_{i}' if len(fed) > 1 else ''}.npy"
                for i in range(len(fed))
            ]
            for file, feed in zip(names, fed):  # noqa: B905
                value = feed[entry["name"]]
                np.save(folder.path(file), value.astype(str) if entry["dtype"] == "str" else value)
            files[entry["name"]] = names
    return {"id": name, "origin": f"made with seed {seed}", "files": files}


def drawn(seed: int, contract: dict[str, Any]) -> Image.Image:
    """Return a picture with a gradient and a few figures, at the contract's size."""
    rules = list(contract["preprocess"].values())
    height = max([SMALLEST_PX, *(int(r["height_px"]) for r in rules)])
    width = max([SMALLEST_PX, *(int(r["width_px"]) for r in rules)])
    rng = np.random.default_rng(seed)
    low, high = rng.integers(20, 120, 3), rng.integers(130, 235, 3)
    slope = np.linspace(0, 1, width)[None, :, None] * np.linspace(0.5, 1, height)[:, None, None]
    picture = Image.fromarray((low + (high - low) * slope).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    for _ in range(SHAPES):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        side = int(rng.integers(max(2, width // 12), max(3, width // 3)))
        colour = tuple(int(c) for c in rng.integers(0, 255, 3))
        draw = pen.ellipse if rng.random() < 0.5 else pen.rectangle
        draw((x, y, x + side, y + side), fill=colour)
    return picture


def marked(picture: Image.Image) -> Image.Image:
    """Return a copy with a bright bar: a made-up defect beside its golden."""
    out = picture.copy()
    width, height = out.size
    box = (width // 4, height // 3, width // 2, height // 3 + max(2, height // 8))
    ImageDraw.Draw(out).rectangle(box, fill=(250, 250, 230))
    return out
