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


def prepared(side: list[np.ndarray]) -> np.ndarray:  # its lights, uint8 -> float32 (3, H, W)
    tiles = [np.asarray(Image.fromarray(read).resize(size, Image.BILINEAR)) for read in side]
    rows = [tiles[i : i + facts["join_x"]] for i in range(0, lights, facts["join_x"])]
    picture = np.concatenate([np.concatenate(row, axis=1) for row in rows]).astype(np.float32) / 255
    return ((picture - np.float32(facts["mean"])) / np.float32(facts["std"])).transpose(2, 0, 1)


read = [np.asarray(open_rgb(file, facts.get("picture_levels"))) for file in sys.argv[1:]]
test, *goldens = [prepared(read[i : i + lights]) for i in range(0, len(read), lights)]
golden = np.stack(goldens) if facts["num_golden"] > 1 else goldens[0]
session = onnxruntime.InferenceSession(here / facts["file"], providers=["CPUExecutionProvider"])
batches = [np.stack([side] * facts["batch"]) for side in (test, golden)]
out = session.run(None, dict(zip(("input_1", "input_2"), batches, strict=True)))[0][0]
score = np.float32(1 / (1 + np.exp(out[0] - out[1]))) if facts["output"] == "logits" else out
print(f"{score:.8f}", "NO_PASS" if score > np.float32(facts["threshold"]) else "PASS")
