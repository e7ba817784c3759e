"""A rerun is safe: the experiment's own Python or none, and the last good reports until it ends."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import explore_tools as tools
import pytest

from model_explorer.kit import rerun
from model_explorer.kit.folder import Folder, Refusal


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """Explore a tiny file once; tests take copies of its folder."""
    root = tmp_path_factory.mktemp("explored")
    tools.onnx_by_sklearn(root / "rows.onnx")
    with pytest.MonkeyPatch.context() as patch:
        folder = tools.explored(
            root, in_process=patch, checkpoint="rows.onnx", name="rows", directory="tmp/mine"
        )
    return folder.root


@pytest.fixture
def place(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "moved here", symlinks=True))


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory) -> Path:
    """Make a Python without any package, not even numpy."""
    place = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    return place / "bin/python"


def contents(place: Path, *parts: str) -> dict[str, bytes]:
    """Return the files of some parts of an experiment."""
    roots = [place / part for part in parts or ("inputs", "outputs", "reports", "scripts")]
    found = (p for root in roots for p in root.rglob("*") if p.is_file())
    return {str(p.relative_to(place)): p.read_bytes() for p in found if "__pycache__" not in str(p)}


def change(place: Path, name: str, **keys) -> None:
    """Change keys of a JSON file of ``outputs/``."""
    Folder(place).write(name, {**Folder(place).read(name), **keys})


def test_any_python_starts_it_and_the_recorded_one_does_the_work(place, bare_python):
    before = contents(place, "reports")
    done = tools.rerun(place, "--reports", python=bare_python)
    assert done.returncode == 0, done.stderr
    assert contents(place, "reports").keys() == before.keys()
    text = "reports/experiment-report.md"
    assert contents(place)[text] == before[text]
    log = (place / "logs/30_experiment_report.log").read_text()
    assert sys.executable in log and str(bare_python) not in log
    assert not (place / rerun.STAGE).exists()


@pytest.mark.parametrize(
    ("change_of", "words"),
    [
        ({"command": ["/gone/bin/python"]}, "(/gone/bin/python) does not start here"),
        ({"command": ["/bin/true"]}, "(/bin/true) does not start here (no answer)"),
        ({"machine": {"python": "3.4.1"}}, "the experiment was made with 3.4.1"),
    ],
)
def test_without_its_python_it_stops_and_nothing_changes(place, change_of, words):
    change(place, "environment", **change_of)
    before = contents(place)
    done = tools.rerun(place)
    assert done.returncode == 3 and words in done.stderr and "--python" in done.stderr
    assert "Traceback" not in done.stderr
    assert contents(place) == before


@pytest.mark.slow
def test_another_python_must_be_named_and_is_kept_to(place):
    change(place, "environment", command=["/gone/bin/python"])
    assert tools.rerun(place, "--reports", "--python", "bin/nowhere").returncode == 3
    done = tools.rerun(place, "--reports", "--python", sys.executable)
    assert done.returncode == 0, done.stderr
    found = Folder(place).read("environment")
    assert found["command"] == [sys.executable] and found["kind"] == "named"


def test_a_failed_rerun_is_an_error_and_leaves_the_last_good_reports(place):
    before = contents(place)
    with (place / "refs/model/rows.onnx").open("ab") as handle:
        handle.write(b"x")
    done = tools.rerun(place)
    assert done.returncode == 3, done.stdout
    assert "the rerun failed: import the runtime and load the model" in done.stderr
    after = contents(place)
    assert after == before
    (kept,) = (place / "logs").glob("failed-*")
    assert kept.name in done.stderr
    assert "changed since" in (kept / "outputs/steps.json").read_text()
    assert (kept / "reports/stakeholder-report.md").is_file()
    assert (kept / "logs/01_smoke.log").is_file()
    assert not (place / rerun.STAGE).exists()


def staged(place: Path) -> None:
    """Stage a rerun whose profile is gone and whose report says NEW, ready to be moved."""
    folder = Folder(place)
    stage = rerun._staged(folder, reports=False)
    assert not stage.path("outputs/stats.json").exists()  # what steps make is made again
    assert stage.path("outputs/parameters.json").is_file()
    assert stage.path("refs/model/rows.onnx").is_file()
    stage.path("reports/experiment-report.md").write_text("NEW")
    records = [r for r in folder.read("steps") if r["script"] != "14_profile.py"]
    stage.write("steps", records)
    rerun._ready(folder, stage, rerun.wanted(folder.parameters))


def test_a_rerun_that_dies_while_it_moves_its_files_is_finished_by_the_next(place, monkeypatch):
    staged(place)
    moved = []

    def dies(self, target):
        moved.append(target)
        if len(moved) == 3:
            raise KeyboardInterrupt
        return replace(self, target)

    replace = Path.replace
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dies)
        with pytest.raises(KeyboardInterrupt):
            rerun._move(Folder(place))
    rerun._alone(Folder(place))
    assert (place / "reports/experiment-report.md").read_text() == "NEW"
    assert not (place / "outputs/profile.json").exists()  # of the last run, and of no step of this
    assert (place / "outputs/stats.json").is_file() and not (place / rerun.STAGE).exists()


def test_a_rerun_that_died_earlier_leaves_nothing(place):
    before = contents(place)
    rerun._staged(Folder(place), reports=False).path("pid").write_text("999999999")
    rerun._alone(Folder(place))
    assert contents(place) == before and not (place / rerun.STAGE).exists()


def test_two_reruns_at_a_time_are_refused(place):
    rerun._staged(Folder(place), reports=False)  # by this very process, which lives
    with pytest.raises(Refusal, match="is running this experiment again"):
        rerun._alone(Folder(place))


def test_changed_versions_are_said(place):
    before = {"machine": {"libraries": {"numpy": "1.0", "gone": "2.0"}}}
    text = rerun._changed(before, {"machine": {"libraries": {"numpy": "1.1"}}})
    assert text == "; versions changed since: gone 2.0 -> gone, numpy 1.0 -> 1.1"
    assert rerun._changed({}, {}) == ""


def test_nothing_large_is_added_to_a_repository_by_accident(place):
    for name in ("refs/upstream/w.bin", "inputs/film.mp4", "outputs/raw/big.npz", "model.onnx",
                 "scripts/weights.pt", "logs/trace.json", "outputs/dump.npy"):  # fmt: skip
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(b"0" * 2_000_000)

    def git(*words: str) -> str:
        command = ["git", "-c", "core.excludesFile=/dev/null", *words]
        return subprocess.run(command, cwd=place, check=True, capture_output=True, text=True).stdout

    git("init", "-q")
    git("add", "-A")
    added = git("ls-files").split()
    assert max((place / name).stat().st_size for name in added) < 100_000
    apart = ("refs/", "inputs/", "logs/")
    assert not [n for n in added if n.startswith(apart) and "README" not in n]
    for name in (
        "README.md", ".gitignore", "scripts/01_smoke.py", "scripts/kit/rerun.py",
        "scripts/kit/child/sitecustomize.py", "outputs/stats.json", "reports/stakeholder-report.md",
    ):  # fmt: skip
        assert name in added


def test_the_record_of_what_steps_wrote_is_whole(place):
    """What a step writes and does not say would be carried into a rerun as if it were asked for."""
    made = {n for r in json.loads((place / "outputs/steps.json").read_text()) for n in r["wrote"]}
    outputs = {f"outputs/{p.name}" for p in (place / "outputs").glob("*.json")}
    given = {"parameters", "provenance", "dependencies", "found_inputs", "steps"}
    assert outputs - made == {f"outputs/{name}.json" for name in given}
