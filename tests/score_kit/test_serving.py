"""Recipes for Triton and TensorRT, and the gate for an engine, with a stand-in for trtexec."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from handoff_folder import drawn_parts, made_bundle

from deft.changenet.onnx.recipes import tensorrt_script, triton_config
from deft.score_kit.command import main as score
from deft.score_kit.engine import main

FACTS = {
    "file": "model.onnx",
    "input_height_px": 112,
    "input_width_px": 224,
    "num_golden": 1,
    "output": "logits",
}

# Reads and writes what trtexec does; FLIP moves the scores.
STAND_IN = """#!{python}
import json, os, sys
import numpy as np, onnxruntime
given = dict(a[2:].partition("=")[::2] for a in sys.argv[1:])
if "onnx" in given:
    open(given["saveEngine"], "wb").write(open(given["onnx"], "rb").read())
    open("asked.txt", "w").write("\\n".join(sys.argv[1:]))
    sys.exit(0)
if os.environ.get("BROKEN"):
    print("[E] no engine"); sys.exit(1)
shapes = {{n: [int(d) for d in s.split("x")] for n, s in
          (p.split(":") for p in given["shapes"].split(","))}}
fed = {{n: np.fromfile(f, np.float32).reshape(shapes[n]) for n, f in
       (p.split(":") for p in given["loadInputs"].split(","))}}
out = onnxruntime.InferenceSession(given["loadEngine"]).run(None, fed)[0]
out = out + np.array([0, float(os.environ.get("FLIP", 0))], np.float32)
with open(given["exportOutput"], "w") as f:  # laid out as TensorRT's samples write it
    dims, values = "x".join(map(str, out.shape)), ", ".join("%.9g" % v for v in out.ravel())
    f.write('[\\n  {{ "name" : "output"\\n  , "dimensions" : "%s"\\n' % dims)
    f.write('  , "values" : [ %s ]\\n  }}\\n]\\n' % values)
"""


def test_triton_s_config_names_shapes_of_the_file():
    text = triton_config(FACTS, -1)
    assert text.count("dims: [ 3, 112, 224 ]") == 2 and "max_batch_size: 32" in text
    assert "dims: [ 2 ]" in text and "dynamic_batching" in text
    assert text.count("{") == text.count("}") and text.count("[") == text.count("]")
    fixed = triton_config({**FACTS, "num_golden": 3, "output": "distance"}, 4)
    assert "max_batch_size: 0" in fixed and "dynamic_batching" not in fixed
    assert "dims: [ 4, 3, 112, 224 ]" in fixed and "dims: [ 4, 3, 3, 112, 224 ]" in fixed
    assert "dims: [ 4 ] }" in fixed
    assert "dims: [ 1 ] reshape: { shape: [ ] }" in triton_config(
        {**FACTS, "output": "distance"}, -1
    )


def test_a_fixed_batch_has_no_shapes_for_trtexec():
    assert "Shapes" not in tensorrt_script(FACTS, 4)
    text = tensorrt_script({**FACTS, "num_golden": 2}, -1)
    assert "--maxShapes=input_1:32x3x112x224,input_2:32x2x3x112x224" in text


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A hand-off whose engine was built by the stand-in, and scored parts."""
    root = tmp_path_factory.mktemp("served with blank")
    spec, _ = made_bundle(root / "best_model")
    drawn_parts(root, spec, 11)
    trtexec = root / "bin/trtexec"
    trtexec.parent.mkdir()
    trtexec.write_text(STAND_IN.format(python=sys.executable))
    trtexec.chmod(0o755)
    return root


def built(place, form):
    path = os.pathsep.join([str(place / "bin"), os.environ["PATH"]])
    script = place / "best_model/tensorrt/build_engine.sh"
    return subprocess.run(
        ["sh", str(script), *form], capture_output=True, text=True, env={**os.environ, "PATH": path}
    )


def gate(place, monkeypatch, flip="0"):
    monkeypatch.setenv("FLIP", flip)
    given = ["--csv", place / "parts.csv", "--images", place / "images"]
    given += ["--engine", place / "best_model/tensorrt/model.fp16.plan"]
    given += ["--trtexec", place / "bin/trtexec", "--batch", "4"]
    return main(place / "best_model", [str(g) for g in given])


def test_the_gate_tells_flips_and_their_rows(place, monkeypatch, capsys):
    done = built(place, ["fp16", "--verbose"])
    assert done.returncode == 0, done.stderr
    asked = (place / "best_model/asked.txt").read_text().split("\n")
    assert {"--fp16", "--verbose", "--onnx=model.onnx", "--skipInference"} <= set(asked)
    assert "compare_engine.py --csv TABLE" in done.stdout
    assert built(place, ["fp8"]).returncode == 2
    assert gate(place, monkeypatch) == 0
    assert "11 parts: no flip; scores differ by at most" in capsys.readouterr().out
    moved = gate(place, monkeypatch, "100"), gate(place, monkeypatch, "-100")
    assert 4 in moved
    assert re.search(r"decided otherwise \(rows \d+", capsys.readouterr().out)


def test_the_gate_s_stops(place, monkeypatch, capsys):
    assert built(place, ["fp16"]).returncode == 0
    monkeypatch.setenv("BROKEN", "1")
    assert gate(place, monkeypatch) == 1
    assert "trtexec ended with 1: [E] no engine" in capsys.readouterr().err
    monkeypatch.delenv("BROKEN")
    assert gate(place, monkeypatch, "nan") == 1
    assert "output cannot be read" in capsys.readouterr().err
    given = ["--csv", "t", "--images", "i", "--engine", "none.plan"]
    assert main(place / "best_model", given) == 1
    assert "the engine does not exist" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(place / "best_model", ["--csv", "t"])
    assert stop.value.code == 2


def test_two_scored_tables_are_compared(place, tmp_path, capsys):
    folder = place / "best_model"
    given = ["--csv", str(place / "parts.csv"), "--images", str(place / "images")]
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    assert score(folder, [*given, "--out", str(one)]) == 0
    shutil.copy(one, other)
    pair = ["--reference", str(one), "--scores", str(other)]
    assert main(folder, pair) == 0
    lines = other.read_text(encoding="utf-8").split("\n")
    cells = lines[4].split(",")
    cells[-3] = "0.999" if cells[-2] == "PASS" else "0.001"
    other.write_text("\n".join([*lines[:4], ",".join(cells), *lines[5:]]), encoding="utf-8")
    capsys.readouterr()
    assert main(folder, pair) == 4
    assert "1 decided otherwise (rows 5)" in capsys.readouterr().out
    other.write_text("\n".join(lines[:5]) + "\n", encoding="utf-8")
    assert main(folder, pair) == 1
    assert "4 rows, one.csv has 11" in capsys.readouterr().err
    assert main(folder, ["--reference", str(place / "parts.csv"), "--scores", str(one)]) == 1


def test_the_front_starts_the_gate(place):
    done = subprocess.run(
        [sys.executable, str(Path(place / "best_model/compare_engine.py")), "--help"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0 and "4 some differ" in done.stdout
