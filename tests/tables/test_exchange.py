"""Doubtful rows in the formats of Label Studio and FiftyOne, there and back."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from deft.core.errors import HardStop
from deft.tables.corrections import VERDICTS, Correction, read_file
from deft.tables.exchange import (
    corrections_csv,
    fiftyone_files,
    from_fiftyone,
    from_label_studio,
    label_studio_interface,
    label_studio_tasks,
    merged,
)

ROWS: list[dict[str, Any]] = [
    {
        "table": table,
        "input_path": "line/B1",
        "golden_path": "golden/D0",
        "object_name": f"R{i}@1",
        "label": label,
        "picture": f"{i:016x}",
        "suggested": suggested,
        "doubt": 0.75,
        "test_file": f"kpi/images/line/B1/R{i}@1_SolderLight.jpg",
        "golden_file": f"kpi/images/golden/D0/R{i}@1_SolderLight.jpg",
    }
    for i, (table, label, suggested) in enumerate(
        [("kpi", "PASS", "bridge"), ("training", "bridge", "PASS"), ("pool", "PASS", 'a "b", c')]
    )
]


def annotated(tasks: list[dict[str, Any]], *answers: tuple[str, str]) -> list[dict[str, Any]]:
    """Return the tasks as Label Studio's JSON export has them (labelstud.io/guide/task_format)."""
    out = []
    for number, (task, (verdict, label)) in enumerate(zip(tasks, answers, strict=True), start=1):
        result = [
            {"id": f"r{k}", "from_name": name, "to_name": "test", "type": "choices",
             "origin": "manual", "value": {"choices": [value]}}
            for k, (name, value) in enumerate((("verdict", verdict), ("new_label", label)))
            if value
        ]  # fmt: skip
        annotation = {"id": number, "result": result, "was_cancelled": False, "ground_truth": False}
        dropped = {**annotation, "result": [], "was_cancelled": True}
        out.append({"id": number, **task, "annotations": [annotation, dropped], "predictions": []})
    return out


def test_label_studio_there_and_back(tmp_path: Path) -> None:
    tasks = label_studio_tasks(ROWS)
    interface = ET.fromstring(label_studio_interface(["PASS", "bridge", 'a "b", c']))
    controls = {c.attrib["name"]: c for c in interface.iter("Choices")}
    shown = {image.attrib["value"].lstrip("$") for image in interface.iter("Image")}
    assert [c.attrib["value"] for c in controls["verdict"]] == list(VERDICTS)
    for task in tasks:
        assert shown <= task["data"].keys()
        for result in task["predictions"][0]["result"]:
            values = {c.attrib["value"] for c in controls[result["from_name"]]}
            assert set(result["value"]["choices"]) <= values, "a prediction is one of the choices"
            assert result["to_name"] == "test" and result["type"] == "choices"
    path = tmp_path / "export.json"
    answers = [("label_wrong", "bridge"), ("label_right", ""), ("bad_picture", "PASS")]
    path.write_text(json.dumps(annotated(tasks, *answers)))
    found = from_label_studio(path)
    assert [(c.verdict, c.new_label) for c in found] == [
        ("label_wrong", "bridge"), ("label_right", ""), ("bad_picture", ""),
    ]  # fmt: skip
    assert [c.picture for c in found] == [row["picture"] for row in ROWS]
    # JSON_MIN: the cells and the answers side by side
    small = [{"id": 1, **tasks[0]["data"], "verdict": "label_wrong", "new_label": "missing"}]
    path.write_text(json.dumps(small))
    assert [c.new_label for c in from_label_studio(path)] == ["missing"]
    assert [c.new_label for c in merged(found, from_label_studio(path))] == ["missing", "", ""]


def test_an_unanswered_task_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    path.write_text(json.dumps(label_studio_tasks(ROWS)))
    assert from_label_studio(path) == []


def test_fiftyone_there_and_back(tmp_path: Path) -> None:
    labels, files = fiftyone_files(ROWS)
    assert labels["labels"].keys() == files.keys()
    assert all(one["confidence"] == 0.25 for one in labels["labels"].values())
    names = list(labels["labels"])
    labels["labels"][names[0]]["label"] = "bridge"
    labels["labels"][names[2]]["label"] = "leave_out"
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(labels))
    found = from_fiftyone(path)
    assert [(c.table, c.verdict, c.new_label) for c in found] == [
        ("kpi", "label_wrong", "bridge"), ("pool", "leave_out", ""),
    ]  # fmt: skip
    # Exported with classes the labels are their places.
    labels["classes"] = ["PASS", "missing"]
    labels["labels"][names[0]]["label"] = 1
    path.write_text(json.dumps(labels))
    assert from_fiftyone(path)[0].new_label == "missing"


def test_no_attribute_has_a_name_that_fiftyone_s_classification_has(tmp_path: Path) -> None:
    """Its reader makes Classification(label=…, confidence=…, **attributes)."""
    for one in fiftyone_files(ROWS)[0]["labels"].values():
        assert not {"id", "tags", "label", "confidence", "logits"} & set(one["attributes"])


def test_a_picture_whose_label_was_taken_away_says_nothing(tmp_path: Path) -> None:
    labels, _ = fiftyone_files(ROWS)
    labels["labels"]["00001"] = None  # as fiftyone 1.22 writes it
    labels["labels"]["00002"]["label"] = "PASS"
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    assert [c.new_label for c in from_fiftyone(tmp_path / "labels.json")] == ["PASS"]


def odd_rows(root: Path) -> list[dict[str, Any]]:
    """Return rows whose pictures have names that an address must quote; the pictures are there."""
    from PIL import Image

    rows = []
    for row, name in zip(ROWS, ("a b&c=1", "ü#1", "100%+"), strict=True):
        file = f"kpi/images/{name}.png"
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(root / file)
        rows.append({**row, "object_name": name, "test_file": file, "golden_file": file})
    return rows


def test_label_studio_s_addresses_are_quoted(tmp_path: Path) -> None:
    rows = odd_rows(tmp_path)
    for task, row in zip(label_studio_tasks(rows), rows, strict=True):
        asked = parse_qs(urlsplit(task["data"]["test"]).query)
        assert asked == {"d": [row["test_file"]]}


def test_label_studio_s_own_code_takes_them_and_gives_them_back(tmp_path: Path) -> None:
    reason = "label-studio-sdk is not installed"
    interfaces = pytest.importorskip("label_studio_sdk.label_interface", reason=reason)
    converter = pytest.importorskip("label_studio_sdk.converter", reason=reason)
    rows = odd_rows(tmp_path)
    tasks, text = label_studio_tasks(rows), label_studio_interface(["PASS", "bridge", 'a "b", c'])
    interface = interfaces.LabelInterface(text)
    interface.validate()
    for task in tasks:
        assert interface.validate_task({"data": task["data"]})
        assert all(map(interface.validate_prediction, task["predictions"]))
    exported = tmp_path / "export.json"
    answers = [("label_wrong", 'a "b", c'), ("label_right", ""), ("bad_picture", "")]
    exported.write_text(json.dumps(annotated(tasks, *answers)))
    for form in ("JSON", "JSON_MIN"):
        folder = tmp_path / form
        folder.mkdir()
        converter.Converter(text, project_dir=str(tmp_path)).convert(
            str(exported), str(folder), form, is_dir=False
        )
        found = from_label_studio(folder / "result.json")
        assert [(c.verdict, c.new_label) for c in found] == answers, form
        assert [c.object_name for c in found] == [row["object_name"] for row in rows]


def test_fiftyone_s_own_code_reads_them_and_gives_them_back(tmp_path: Path) -> None:
    reason = "fiftyone is not installed"
    importers = pytest.importorskip("fiftyone.utils.data.importers", reason=reason)
    exporters = pytest.importorskip("fiftyone.utils.data.exporters", reason=reason)
    rows, folder = odd_rows(tmp_path), tmp_path / "fiftyone"
    labels, files = fiftyone_files(rows)
    folder.mkdir()
    (folder / "labels.json").write_text(json.dumps(labels))
    places = {name: str(tmp_path / file) for name, file in files.items()}
    (folder / "data.json").write_text(json.dumps(places))
    reader = importers.FiftyOneImageClassificationDatasetImporter(
        dataset_dir=str(folder), data_path="data.json"
    )
    with reader:
        read = [(path, label) for path, _, label in reader]
    assert [path for path, _ in read] == list(places.values())
    assert [label.confidence for _, label in read] == [0.25] * 3
    read[0][1].label = "missing"
    read[2][1].label = "leave_out"
    writer = exporters.FiftyOneImageClassificationDatasetExporter(
        export_dir=str(tmp_path / "out"), export_media=False, include_attributes=True
    )
    with writer:
        for path, label in read:
            writer.export_sample(path, label)
    found = from_fiftyone(tmp_path / "out/labels.json")
    assert [(c.object_name, c.verdict, c.new_label) for c in found] == [
        (rows[0]["object_name"], "label_wrong", "missing"),
        (rows[2]["object_name"], "leave_out", ""),
    ]


@pytest.mark.parametrize("content", [[], {"labels": {"a": "PASS"}}, {"labels": []}, [{"data": {}}]])
def test_other_files_stop(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(content))
    with pytest.raises(HardStop):
        from_fiftyone(path)
        from_label_studio(path)


def test_the_newer_verdict_counts_whether_or_not_it_names_the_golden() -> None:
    old = Correction("kpi", "b", "R1", "leave_out")
    new = Correction("kpi", "b", "R1", "label_right", golden_path="g")
    other = Correction("kpi", "b", "R1", "label_right", golden_path="h")
    assert merged([old], [new]) == [new]
    assert merged([new], [old]) == [old]
    assert merged([new, other], [replace(new, verdict="leave_out")])[1] == other
    assert set(merged([new, other], [old])) == {new, other, old}, "of which row?"


def test_the_csv_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "corrections.csv"
    export = tmp_path / "export.json"
    answers = [("label_wrong", "bridge"), ("label_right", ""), ("label_wrong", "a, c")]
    export.write_text(json.dumps(annotated(label_studio_tasks(ROWS), *answers)))
    found = from_label_studio(export)
    path.write_text(corrections_csv(found), encoding="utf-8")
    assert [c.as_dict() for c in read_file(path)] == [c.as_dict() for c in found]
