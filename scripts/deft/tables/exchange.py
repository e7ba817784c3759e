"""Doubtful rows in the formats of Label Studio and FiftyOne, and verdicts back from them.

Label Studio: tasks with a prediction (https://labelstud.io/guide/predictions) and a labelling
interface; back come tasks with annotations, as its JSON export has them, or JSON_MIN. FiftyOne:
``FiftyOneImageClassificationDataset`` (``labels.json``, with the manifest ``data.json`` of where
the pictures lie); back comes the same.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from deft.core.errors import HardStop
from deft.core.reading import check_shape, read_json
from deft.tables.corrections import COLUMNS, VERDICTS, WRONG, Correction, from_dicts

ROW = ("table", "input_path", "golden_path", "object_name", "label", "picture")
# Label Studio's address of a file below its document root; a name may hold & or #.
SERVED = "/data/local-files/?d="
# FiftyOne's classification has a `label` of its own, so the row's has another name there.
FIFTYONE_NAMES = {name: "row_label" if name == "label" else name for name in ROW}
# What must be in an export, see deft.core.reading.check_shape.
ANNOTATIONS = [{"result": [{"from_name": str, "type": str, "value": {}}]}]
VERDICT, NEW_LABEL = "verdict", "new_label"  # names of the controls


def label_studio_interface(labels: Sequence[str]) -> str:
    """Return the labelling interface: golden and test picture, the five verdicts, the new label."""
    verdicts = "\n".join(f"    <Choice value={quoteattr(v)}/>" for v in VERDICTS)
    named = "\n".join(f"    <Choice value={quoteattr(v)}/>" for v in labels)
    return f"""<View>
  <Header value="$object_name: $label"/>
  <View style="display: flex">
    <Image name="golden" value="$golden"/>
    <Image name="test" value="$test"/>
  </View>
  <Choices name="{VERDICT}" toName="test" choice="single" required="true">
{verdicts}
  </Choices>
  <Choices name="{NEW_LABEL}" toName="test" choice="single" visibleWhen="choice-selected"
    whenTagName="{VERDICT}" whenChoiceValue="{WRONG}">
{named}
  </Choices>
</View>
"""


def label_studio_tasks(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one task per doubtful row, the suggested label as its prediction.

    ``rows``: the cells of :data:`ROW`, ``suggested``, ``doubt`` (0 to 1), ``test_file`` and
    ``golden_file`` (relative to the workspace, which Label Studio is to serve).
    """
    return [
        {
            "data": {
                **{name: row[name] for name in ROW},
                "test": SERVED + quote(row["test_file"]),
                "golden": SERVED + quote(row["golden_file"]),
            },
            "predictions": [
                {
                    "model_version": "label_doubts",
                    "score": row["doubt"],
                    "result": (
                        [_choice(VERDICT, WRONG), _choice(NEW_LABEL, row["suggested"])]
                        if row["suggested"]
                        else []
                    ),
                }
            ],
        }
        for row in rows
    ]


def _choice(control: str, value: str) -> dict[str, Any]:
    found = {"from_name": control, "to_name": "test", "type": "choices"}
    return {**found, "value": {"choices": [value]}}


def fiftyone_files(rows: Iterable[Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return ``labels.json`` and ``data.json`` of doubtful rows, by their test pictures.

    The label is the row's, its confidence 1 - doubt; all else is an attribute.
    """
    labels, files = {}, {}
    for number, row in enumerate(rows, start=1):
        name = f"{number:05d}"
        more = {there: row[name] for name, there in FIFTYONE_NAMES.items()}
        more |= {name: row[name] for name in ("suggested", "golden_file")}
        labels[name] = {
            "label": row["label"],
            "confidence": 1 - row["doubt"],
            "attributes": more,
        }
        files[name] = row["test_file"]
    return {"classes": None, "labels": labels}, files


def from_label_studio(path: Path) -> list[Correction]:
    """Return the verdicts of an export, JSON or JSON_MIN; tasks without one are left out.

    Raises
    ------
    HardStop ``csv_invalid`` for a file that is no export, or a task that is not one of ours.
    """
    tasks = read_json(path)
    if not isinstance(tasks, list):
        raise _stop(path, "it is no list of tasks", "export as JSON or JSON_MIN")
    found = []
    for number, task in enumerate(tasks, start=1):
        data = task.get("data", task) if isinstance(task, dict) else None
        if not isinstance(data, dict) or not all(isinstance(data.get(k), str) for k in ROW):
            raise _stop(
                path,
                f"task {number} has not the cells {', '.join(ROW)}",
                "import label_studio.json, and export those very tasks",
            )
        problem = check_shape(task.get("annotations", []), ANNOTATIONS, "annotations")
        if problem:
            raise _stop(path, f"task {number}: {problem}", "export it again, as JSON or JSON_MIN")
        told = _annotated(task)
        if told.get(VERDICT):
            found.append(_correction(data, told[VERDICT], told.get(NEW_LABEL, "")))
    return found


def _annotated(task: Mapping[str, Any]) -> dict[str, str]:
    """Return control -> choice of the task's last annotation that was not cancelled."""
    if "data" not in task:  # JSON_MIN
        return {k: _first(task.get(k)) for k in (VERDICT, NEW_LABEL)}
    kept = [a for a in task.get("annotations", []) if a.get("was_cancelled") is not True]
    results = kept[-1]["result"] if kept else []
    return {
        r["from_name"]: _first(r["value"].get("choices")) for r in results if r["type"] == "choices"
    }


def _first(value: Any) -> str:
    if isinstance(value, dict):  # JSON_MIN of several choices
        value = value.get("choices")
    if isinstance(value, list):
        value = value[0] if value else ""
    return value if isinstance(value, str) else ""


def from_fiftyone(labels: Path) -> list[Correction]:
    """Return the verdicts of an exported ``labels.json``.

    A label is a verdict of ours (``leave_out``) or a new label of the part; one that is the row's
    own says nothing, and so does none. The row stands in the attributes.

    Raises
    ------
    HardStop ``csv_invalid`` for another file, or one that was exported without the attributes.
    """
    content = read_json(labels)
    told = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(told, dict):
        raise _stop(labels, "it has no labels", "export FiftyOneImageClassificationDataset")
    found = []
    given = content.get("classes")
    classes = given if isinstance(given, list) else []
    for name, one in told.items():
        if one is None:  # as it writes a picture whose label was taken away
            continue
        attributes = one.get("attributes") if isinstance(one, dict) else None
        cells = attributes if isinstance(attributes, dict) else {}
        row = {here: cells.get(there) for here, there in FIFTYONE_NAMES.items()}
        if not all(isinstance(cell, str) for cell in row.values()):
            raise _stop(labels, f"{name} has no attributes", "export with include_attributes=True")
        label = one.get("label")
        if isinstance(label, int) and 0 <= label < len(classes):
            label = classes[label]
        if not isinstance(label, str | None):
            raise _stop(labels, f"the label of {name} is no text", "export the labels again")
        if label in VERDICTS and label != WRONG:
            found.append(_correction(row, label, ""))
        elif label and label != row["label"]:
            found.append(_correction(row, WRONG, label))
    return found


def _correction(row: Mapping[str, Any], verdict: str, new_label: str) -> Correction:
    cells = {name: row[name] for name in ROW}
    new = new_label if verdict == WRONG else ""
    return from_dicts([{**cells, "verdict": verdict, "new_label": new}])[0]


def corrections_csv(found: Iterable[Correction]) -> str:
    """Return the text of ``corrections.csv``."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: getattr(one, name) for name in COLUMNS} for one in found)
    return text.getvalue()


def merged(old: Iterable[Correction], new: Iterable[Correction]) -> list[Correction]:
    """Return both, the newer verdict where both speak of one row.

    One without a golden_path speaks of the only row of its part; where others name several, it
    stays beside them, for the reader to refuse.
    """
    parts: dict[tuple[str, ...], dict[str, Correction]] = {}
    for one in (*old, *new):
        of_part = parts.setdefault((one.table, one.input_path, one.object_name), {})
        if one.golden_path:
            of_part.pop("", None)
        elif len(of_part) == 1:
            of_part.clear()
        of_part[one.golden_path] = one
    return [one for of_part in parts.values() for one in of_part.values()]


def _stop(path: Path, what: str, fix: str) -> HardStop:
    return HardStop("csv_invalid", what, file=path, fix=fix)
