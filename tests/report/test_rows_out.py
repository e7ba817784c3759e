"""Weak and mined pictures for other tools, read by those tools' own code where it is installed."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import fake_run
import pytest
from PIL import Image

import export_rows
from deft.core.errors import HardStop
from deft.core.layout import Run
from deft.record.lenient import load_run
from deft.record.rows_out import MINED, WEAK, WRITERS, Picture, pictures_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def rows(tmp_path: Path) -> list[Picture]:
    """Three pictures of sizes of their own, with labels and names that are odd."""
    out = []
    for number, label in enumerate(("PASS", "golden", "a/b <c>")):
        paths = [tmp_path / "w" / side / f"p{number} &.png" for side in ("test", "gold")]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (10 + number, 20), (number, 0, 0)).save(path)
        about = {"kind": WEAK, "object_name": f"p{number}", "light": "A", "score": 0.5}
        out.append(Picture(*paths, label, about))
    return out


def written(rows: list[Picture], tmp_path: Path, to: str) -> Path:
    (tmp_path / to).mkdir()
    return WRITERS[to](rows, tmp_path / to, tmp_path / "w")


def test_weak_and_mined_rows_of_a_run_are_those_of_its_tables(
    finished: fake_run.FakeRun,
) -> None:
    run = finished
    files = load_run(run.dir, run.workspace)
    phases = {p.name: p for p in files.phases}
    weak = pictures_of(files, "baseline", WEAK)
    assert [str(p.test) for p in weak] == phases["baseline"].gaps["filepath"].tolist()
    mined = phases["iter1"].mined
    with pytest.raises(HardStop, match="pictures are gone"):
        pictures_of(files, "iter1", MINED)  # the drawn run has none of the pool's
    for light in fake_run.LIGHTS:
        for _, row in mined.iterrows():
            for folder in (row["input_path"], row["golden_path"]):
                path = run.workspace / folder / f"{row['object_name']}_{light}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    found = pictures_of(files, "iter1", MINED)
    lights = len(fake_run.LIGHTS)
    assert len(found) == lights * len(mined) > 0
    assert [p.label for p in found[::lights]] == mined["label"].tolist()
    with pytest.raises(HardStop, match="no mined pictures"):
        pictures_of(files, "baseline", MINED)
    with pytest.raises(HardStop, match="no weak pictures"):
        pictures_of(files, "iter9", WEAK)


def test_coco_has_a_box_around_each_picture(rows: list[Picture], tmp_path: Path) -> None:
    told = json.loads(written(rows, tmp_path, "coco").read_text())
    names = {c["id"]: c["name"] for c in told["categories"]}
    assert [names[a["category_id"]] for a in told["annotations"]] == [r.label for r in rows]
    assert [a["bbox"] for a in told["annotations"]] == [[0, 0, 10 + i, 20] for i in range(3)]
    assert [i["file_name"] for i in told["images"]] == [f"test/p{i} &.png" for i in range(3)]


def test_a_picture_that_is_damaged_is_named(rows: list[Picture], tmp_path: Path) -> None:
    rows[1].test.write_bytes(b"no picture")
    with pytest.raises(HardStop, match="cannot be read") as stop:
        written(rows, tmp_path, "coco")
    assert stop.value.code == "image_invalid" and stop.value.file == str(rows[1].test)


def test_coco_s_own_reader_takes_it(rows: list[Picture], tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    read = coco.COCO(str(written(rows, tmp_path, "coco")))
    (wanted,) = read.getCatIds(catNms=["golden"])
    assert read.getImgIds(catIds=[wanted]) == [2]


def test_fiftyone_s_own_reader_takes_it(rows: list[Picture], tmp_path: Path) -> None:
    reason = "fiftyone is not installed"
    importers = pytest.importorskip("fiftyone.utils.data.importers", reason=reason)
    folder = written(rows, tmp_path, "fiftyone").parent
    reader = importers.FiftyOneImageClassificationDatasetImporter(
        dataset_dir=str(folder), data_path="data.json"
    )
    with reader:
        read = [(path, label) for path, _, label in reader]
    assert [path for path, _ in read] == [str(row.test) for row in rows]
    assert [label.label for _, label in read] == [row.label for row in rows]
    assert read[0][1]["golden"] == str(rows[0].golden) and read[0][1]["score"] == 0.5


def test_label_studio_s_own_check_takes_it(rows: list[Picture], tmp_path: Path) -> None:
    reason = "label-studio-sdk is not installed"
    interfaces = pytest.importorskip("label_studio_sdk.label_interface", reason=reason)
    path = written(rows, tmp_path, "label_studio")
    interface = interfaces.LabelInterface(path.with_suffix(".xml").read_text())
    interface.validate()
    for task in json.loads(path.read_text()):
        assert interface.validate_task({"data": task["data"]})
        assert all(map(interface.validate_prediction, task["predictions"]))


def test_folders_keep_every_picture_and_its_label(rows: list[Picture], tmp_path: Path) -> None:
    path = written(rows, tmp_path, "folders")
    told: list[dict[str, Any]] = list(csv.DictReader(path.open(encoding="utf-8", newline="")))
    assert [one["label"] for one in told] == [row.label for row in rows]
    for one, row in zip(told, rows, strict=True):
        file = path.parent / one["file"]
        assert file.read_bytes() == row.test.read_bytes()
        golden = path.parent / "golden" / file.name
        assert golden.read_bytes() == row.golden.read_bytes()
    assert {p.name for p in path.parent.iterdir()} == {
        *("PASS", "golden_", "a_b_c_", "golden", "labels.csv"),
    }


def test_the_command_refuses_a_folder_that_is_in_use(
    built: dict[str, fake_run.FakeRun], tmp_path: Path
) -> None:
    run = built["finished"]
    command = [sys.executable, str(ROOT / "scripts/export_rows.py"), "weak", "coco"]
    command += ["--workspace", str(run.workspace), "--run", fake_run.RUN, "--phase", "baseline"]
    (tmp_path / "mine.txt").write_text("mine")
    done = subprocess.run(
        [*command, "--out", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "is not empty" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_nothing_is_left_half_written(finished: fake_run.FakeRun, tmp_path: Path, monkeypatch):
    def breaks(rows: list[Picture], out: Path, workspace: Path) -> Path:
        (out / "PASS").mkdir()
        (out / "labels.csv").write_text("half")
        raise OSError("the disk is gone")

    monkeypatch.setitem(export_rows.WRITERS, "folders", breaks)
    asked = Namespace(phase="baseline", what=WEAK, to="folders", out=tmp_path / "out")
    with pytest.raises(OSError, match="the disk is gone"):
        export_rows.body(asked, Run(finished.workspace, fake_run.RUN))
    assert not list((tmp_path / "out").iterdir())
