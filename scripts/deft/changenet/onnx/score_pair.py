"""Score one part: python score_pair.py TEST.png GOLDEN.png   (several lights: all tests first)"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from read_picture import Image, open_rgb

here = Path(__file__).resolve().parent
facts = json.loads((here / "preprocessing.json").read_text(encoding="utf-8"))
lights, size = len(facts["lights"]), (facts["width_px"], facts["height_px"])


def opened(files: list[str]) -> list[np.ndarray]:  # the lights of one side -> uint8 (h, w, 3)
    return [np.asarray(open_rgb(file, facts.get("picture_levels"))) for file in files]


def prepared(read: list[np.ndarray]) -> np.ndarray:  # -> float32 (3, H, W)
    tiles = [np.asarray(Image.fromarray(p).resize(size, Image.BILINEAR)) for p in read]
    rows = [tiles[i : i + facts["join_x"]] for i in range(0, lights, facts["join_x"])]
    picture = np.concatenate([np.concatenate(row, axis=1) for row in rows]).astype(np.float32) / 255
    return ((picture - np.float32(facts["mean"])) / np.float32(facts["std"])).transpose(2, 0, 1)


sides = [opened(sys.argv[i : i + lights]) for i in range(1, len(sys.argv), lights)]
if "register" in facts:  # as the pictures of training
    from score_kit.registration import align  # with OpenCV

    sides[0] = align(sides[0], sides[1], facts["register"]).lights
test, *goldens = map(prepared, sides)
golden = np.stack(goldens) if facts["num_golden"] > 1 else goldens[0]
session = onnxruntime.InferenceSession(here / facts["file"], providers=["CPUExecutionProvider"])
batches = [np.stack([side] * facts["batch"]) for side in (test, golden)]
out = session.run(None, dict(zip(("input_1", "input_2"), batches, strict=True)))[0][0]
score = np.float32(1 / (1 + np.exp(out[0] - out[1]))) if facts["output"] == "logits" else out
print(f"{score:.8f}", "NO_PASS" if score > np.float32(facts["threshold"]) else "PASS")
