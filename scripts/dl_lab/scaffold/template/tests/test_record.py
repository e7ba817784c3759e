"""The record of a run: valid, repeatable, and quoted as it stands."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from lab import quotes, record  # noqa: E402
from lab.demo import demo_record  # noqa: E402
from lab.learner import Settings, restored  # noqa: E402


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A record of a short training."""
    root = tmp_path_factory.mktemp("project")
    demo_record(
        root / "artifacts/runs/T1",
        tag="T1",
        project_root=root,
        data_dir=root / "data",
        model_dir=root / "models",
        settings=Settings(rows=80, epochs=10),
        seed=3,
        command="test",
    )
    return root


def read(root, name):
    return json.loads((root / f"artifacts/runs/T1/{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", record.NAMES)
def test_the_record_fits_its_schemas(made, name):
    schema = json.loads((ROOT / f"schemas/{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(read(made, name))


def test_every_file_has_its_digest(made):
    manifest = read(made, "manifest")
    assert manifest["outputs"] and manifest["data"]
    for entry in manifest["outputs"] + manifest["inputs"] + manifest["data"]:
        assert record.sha256_of(made / entry["path"]) == entry["sha256"]


def test_the_weights_give_the_recorded_number(made):
    summary = read(made, "summary")
    network = restored(json.loads((made / summary["best_checkpoint"]["path"]).read_text()))
    lines = (made / "data/two_moons_seed3.csv").read_text().splitlines()[1:]
    test = [line.split(",") for line in lines if line.endswith("test")]
    right = sum(
        (network.probability(float(x), float(y)) > 0.5) == (label == "1") for x, y, label, _ in test
    )
    assert summary["metrics"]["test_accuracy_pct"] == pytest.approx(100 * right / len(test))


def test_a_wrong_quote_is_named(made, tmp_path):
    value = read(made, "analysis")["results"]["best.test_accuracy_pct"]
    text = tmp_path / "draft.md"
    text.write_text(
        f"{value:.1f} % (analysis.json:results.best.test_accuracy_pct)\n\n"
        f"{value + 1:.1f} % (analysis.json:results.best.test_accuracy_pct)\n"
    )
    _, problems = quotes.check_files([text], made / "artifacts/runs/T1/analysis.json")
    assert len(problems) == 1 and problems[0].startswith(f"{text}:3: ")


def test_a_tag_is_written_once(tmp_path):
    command = [sys.executable, str(ROOT / "scripts/make_artifacts.py"), "--tag", "../x"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "tag" in done.stderr and "Traceback" not in done.stderr
