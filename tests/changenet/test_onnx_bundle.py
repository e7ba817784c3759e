"""The folder that is handed off: its example gives the pipeline's score, from two pictures."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from changenet_pairs import COLUMNS
from handoff_folder import CASES, made_bundle
from PIL import Image

from deft.changenet.infer import score_table
from deft.changenet.onnx import bundle
from deft.tables import pictures

pytestmark = pytest.mark.long


def example(folder, *pictures):
    """Run the example in a process of its own, elsewhere; return (score, decision)."""
    done = subprocess.run(
        [sys.executable, str(folder / bundle.EXAMPLE), *map(str, pictures)],
        capture_output=True, text=True, timeout=120, cwd=folder.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    score, decision = done.stdout.split()
    return float(score), decision


@pytest.mark.parametrize("classify", CASES.values(), ids=CASES)
def test_the_example_gives_the_pipelines_score(tmp_path, classify):
    folder = tmp_path / "best_model"
    spec, weights = made_bundle(folder, **classify)
    rng = np.random.default_rng(1)
    for side in ("in", "gold"):
        (tmp_path / "images" / side).mkdir(parents=True)
        for light in spec.lights:
            # Another size than the network's, and grey: resized and made RGB on the way.
            pixels = rng.integers(0, 255, (57, 43)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"images/{side}/p_{light}.png")
    table = tmp_path / "t.csv"
    pd.DataFrame([("in", "gold", "PASS", "p")], columns=COLUMNS).to_csv(table, index=False)
    scores, _ = score_table(spec, weights, table, tmp_path / "images")
    files = [
        tmp_path / f"images/{s}/p_{light}.png" for s in ("in", "gold") for light in spec.lights
    ]
    score, decision = example(folder, *files)
    assert score == pytest.approx(float(scores[0]), abs=1e-5)
    for threshold, wanted in ((score - 0.01, "NO_PASS"), (score + 0.01, "PASS")):
        facts = json.loads((folder / bundle.PREPROCESSING).read_text())
        facts["threshold"] = threshold
        (folder / bundle.PREPROCESSING).write_text(json.dumps(facts))
        assert example(folder, *files)[1] == wanted
    assert decision == ("NO_PASS" if score > 0.5 else "PASS")


def test_the_example_is_short_and_needs_three_packages():
    text = bundle.EXAMPLE_SOURCE.read_text()
    assert len(text.splitlines()) <= 30
    found = set()
    for source in (text, Path(pictures.__file__).read_text()):
        names = set()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(str(node.module).split(".")[0])
        found |= names - set(sys.stdlib_module_names)
    # cv2 is wanted for pictures of deep colour alone.
    assert found == {"numpy", "PIL", "onnxruntime", bundle.READER.removesuffix(".py"), "cv2"}


def test_the_example_reads_deep_pictures_as_the_pipeline_and_refuses_them_without_levels(tmp_path):
    folder = tmp_path / "best_model"
    spec, weights = made_bundle(folder)
    files = []
    for i, side in enumerate(("in", "gold")):
        (tmp_path / "images" / side).mkdir(parents=True)
        levels = np.random.default_rng(i).integers(0, 4096, (57, 43)).astype(np.uint16)
        levels[0, 0] = 4095
        files.append(tmp_path / f"images/{side}/p_{spec.lights[0]}.png")
        Image.fromarray(levels).save(files[-1])
    table = tmp_path / "t.csv"
    pd.DataFrame([("in", "gold", "PASS", "p")], columns=COLUMNS).to_csv(table, index=False)
    scores, _ = score_table(spec, weights, table, tmp_path / "images", levels=4095)
    command = [sys.executable, str(folder / bundle.EXAMPLE), *map(str, files)]
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode and "largest level 4095" in refused.stderr
    facts = json.loads((folder / bundle.PREPROCESSING).read_text())
    assert "picture_levels" not in facts
    (folder / bundle.PREPROCESSING).write_text(json.dumps({**facts, "picture_levels": 4095}))
    assert example(folder, *files)[0] == pytest.approx(float(scores[0]), abs=1e-5)
    made = bundle.preprocessing(
        spec, {"file": "m", "sha256": "", "batch": 1}, threshold=0, kpi_threshold=0, levels=4095
    )
    assert made["picture_levels"] == 4095


def test_checksums_and_readme(tmp_path):
    folder = tmp_path / "best_model"
    made_bundle(folder, threshold=0.25)
    done = subprocess.run(
        ["sha256sum", "-c", bundle.CHECKSUM], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0 and "model.onnx: OK" in done.stdout
    text = (folder / bundle.README).read_text()
    assert "float noise" not in text and "Warning" not in text
    made_bundle(folder, margin=1e-8, flips=2)
    told = (folder / bundle.README).read_text()
    assert "may fall on its other side" in told
    assert "Warning: 2 of the checked parts were decided otherwise" in told
    assert "score_pair.py TEST_A.png GOLDEN_A.png" in text and "above 0.25" in text
    facts = json.loads((folder / bundle.PREPROCESSING).read_text())
    assert facts["rule"] == "score > threshold means NO_PASS" and facts["colour_order"] == "RGB"
    assert facts["mean"] == [0.485, 0.456, 0.406] and facts["file"] == "model.onnx"
