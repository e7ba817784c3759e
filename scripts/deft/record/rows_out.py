"""A phase's weak or mined pictures for other tools: COCO, FiftyOne, Label Studio, plain folders."""

from __future__ import annotations

import csv
import io
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from PIL import Image

from deft.core.errors import HardStop
from deft.core.files import write_json_atomic, write_text_atomic
from deft.record.judged import goldens_of, lights_and_ext
from deft.record.run_files import RunFiles
from deft.tables.changenet_table import image_file
from deft.tables.exchange import SERVED

WEAK, MINED, GOLDEN = "weak", "mined", "golden"
UNFIT = re.compile(r"[^\w.@+-]+")  # what a folder's name is made without


@dataclass(frozen=True)
class Picture:
    """A picture of a row with its golden and its label; ``about``: texts and numbers by name."""

    test: Path
    golden: Path
    label: str
    about: dict[str, Any]


def pictures_of(files: RunFiles, phase: str, what: str) -> list[Picture]:
    """Return the weak or mined pictures of a phase, one a light, in their table's order.

    Raises HardStop ``missing_input`` for a phase without any, and for a picture that is gone.
    """
    found = next((p for p in files.phases if p.name == phase), None)
    rows = (
        [] if found is None else _weak(found.gaps) if what == WEAK else _mined(files, found.mined)
    )
    if not rows:
        raise HardStop(
            "missing_input",
            f"{phase} of {files.name} has no {what} pictures",
            file=files.run.phase(phase),
            fix="name a phase that has some: weak ones are those of a phase that a lap followed, "
            "mined ones those of a lap",
        )
    gone = [path for row in rows for path in (row.test, row.golden) if not path.is_file()]
    if gone:
        raise HardStop("missing_input", f"{len(gone)} pictures are gone", file=gone[0],
                       fix="restore them")  # fmt: skip
    return rows


def _weak(gaps: Any) -> list[Picture]:
    return [
        Picture(
            Path(row["filepath"]),
            Path(row["golden_filepath"]),
            str(row["label"]),
            {
                "kind": WEAK,
                "object_name": str(row["object_name"]),
                "light": str(row["light"]),
                "score": float(row["siamese_score"]),
                "weakness": float(row["weakness"]),
            },
        )
        for _, row in gaps.iterrows()
    ]


def _mined(files: RunFiles, rows: Any) -> list[Picture]:
    (lights, ext), goldens = lights_and_ext(files), goldens_of(files)
    out = []
    for _, row in rows.iterrows():
        for light in lights:
            name = str(row["object_name"])
            test = image_file(files.workspace, row["input_path"], name, light, ext)
            golden = goldens.file(row["golden_path"], name, light)
            about = {"kind": MINED, "object_name": name, "light": light}
            about["provenance"] = str(row.get("provenance", ""))
            out.append(Picture(test, golden, str(row["label"]), about))
    return out


def coco(rows: Sequence[Picture], out: Path, workspace: Path) -> Path:
    """Write ``annotations.json``; a label, which is the whole picture's, is a box around it."""
    labels = sorted({row.label for row in rows})
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    for number, row in enumerate(rows, start=1):
        width, height = _size(row.test)
        image = {"id": number, "file_name": _below(row.test, workspace), **row.about}
        image |= {"width": width, "height": height, "golden": _below(row.golden, workspace)}
        images.append(image)
        box = {"id": number, "image_id": number, "category_id": labels.index(row.label) + 1}
        boxes.append(box | {"bbox": [0, 0, width, height], "area": width * height, "iscrowd": 0})
    categories = [{"id": i, "name": label} for i, label in enumerate(labels, start=1)]
    content = {"images": images, "annotations": boxes, "categories": categories}
    return write_json_atomic(out / "annotations.json", content)


def fiftyone(rows: Sequence[Picture], out: Path, workspace: Path) -> Path:
    """Write a ``FiftyOneImageClassificationDataset``: ``labels.json``, and ``data.json``."""
    names = [f"{number:05d}" for number in range(1, len(rows) + 1)]
    labels = {
        name: {"label": row.label, "attributes": {**row.about, "golden": str(row.golden)}}
        for name, row in zip(names, rows, strict=True)
    }
    files = {name: str(row.test) for name, row in zip(names, rows, strict=True)}
    write_json_atomic(out / "data.json", files)
    return write_json_atomic(out / "labels.json", {"classes": None, "labels": labels})


def label_studio(rows: Sequence[Picture], out: Path, workspace: Path) -> Path:
    """Write tasks with the label as prediction, and the labelling interface beside them."""
    choices = "\n".join(
        f"    <Choice value={quoteattr(label)}/>" for label in sorted({row.label for row in rows})
    )
    interface = (
        '<View>\n  <Header value="$object_name $light"/>\n'
        '  <Image name="golden" value="$golden"/>\n  <Image name="test" value="$test"/>\n'
        '  <Choices name="label" toName="test" choice="single">\n'
        f"{choices}\n  </Choices>\n</View>\n"
    )
    write_text_atomic(out / "label_studio.xml", interface)
    tasks: list[dict[str, Any]] = []
    for row in rows:
        served = {
            side: SERVED + quote(_below(path, workspace))
            for side, path in (("test", row.test), ("golden", row.golden))
        }
        choice = {"from_name": "label", "to_name": "test", "type": "choices"}
        result = [{**choice, "value": {"choices": [row.label]}}]
        prediction = {"model_version": row.about["kind"], "result": result}
        tasks.append({"data": {**row.about, **served}, "predictions": [prediction]})
    return write_json_atomic(out / "label_studio.json", tasks)


def folders(rows: Sequence[Picture], out: Path, workspace: Path) -> Path:
    """Copy the pictures into ``<label>/`` and their goldens, of equal names, into ``golden/``.

    ``labels.csv`` has each file's label as it is, and all else.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "label", *rows[0].about])
    for number, row in enumerate(rows, start=1):
        name, label = f"{number:05d}_{row.test.name}", UNFIT.sub("_", row.label).strip(".") or "_"
        label = f"{label}_" if label.lower() == GOLDEN else label
        for path, folder in ((row.test, label), (row.golden, GOLDEN)):
            (out / folder).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, out / folder / name)
        writer.writerow([f"{label}/{name}", row.label, *row.about.values()])
    return write_text_atomic(out / "labels.csv", text.getvalue())


WRITERS: dict[str, Callable[[Sequence[Picture], Path, Path], Path]] = {
    "coco": coco,
    "fiftyone": fiftyone,
    "label_studio": label_studio,
    "folders": folders,
}


def _size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as picture:
            return picture.size
    except Exception as error:  # Pillow's readers fail in many ways
        why = f"the picture cannot be read ({str(error)[:200]})"
        raise HardStop("image_invalid", why, file=path, fix="restore it") from None


def _below(path: Path, workspace: Path) -> str:
    """Return a path relative to the workspace, or absolute where it lies elsewhere."""
    return path.relative_to(workspace).as_posix() if path.is_relative_to(workspace) else str(path)
