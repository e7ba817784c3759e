"""Reading a local copy of DeepPCB: groups, board pictures, boxes.

Layout: ``PCBData/groupNNNNN/NNNNN/<id>_{test,temp}.jpg`` and ``…/NNNNN_not/<id>.txt`` with lines
``x1 y1 x2 y2 type`` (spaces or commas). Copper is dark, the bare board is light.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from deft.core.errors import HardStop
from deft.core.reading import lines_of, read_text, require_file, shortened
from deft.tables.fingerprint import decode

DEFECT_TYPES = {1: "open", 2: "short", 3: "mousebite", 4: "spur", 5: "copper", 6: "pin-hole"}
DEFECTS = tuple(DEFECT_TYPES.values())
SHOWN = 120  # characters of a line
LICENCE_NOTE = (
    "DeepPCB (github.com/tangsanli5201/DeepPCB): its LICENSE file is MIT, its README asks for "
    "research use only. Settle which holds for you before a model trained on it is deployed."
)


@dataclass(frozen=True)
class Box:
    """A defect: pixel corners, ``x2`` and ``y2`` past the last pixel, and its name."""

    x1: int
    y1: int
    x2: int
    y2: int
    defect: str


@dataclass(frozen=True)
class BoardPicture:
    """One board picture: its group (``group00041``), id and three files."""

    group: str
    name: str
    test: Path
    template: Path
    boxes: Path


def find_groups(root: str | Path) -> dict[str, list[BoardPicture]]:
    """Return group -> its board pictures, both sorted by name.

    ``root`` holds ``PCBData/`` or is that folder. Raises HardStop ``missing_input`` when there is
    no such folder, no group in it, or a picture lacks its template or boxes.
    """
    root = Path(root).expanduser()
    data = root / "PCBData" if (root / "PCBData").is_dir() else root
    fix = "set deeppcb.root to the folder that holds PCBData/"
    if not data.is_dir():
        raise HardStop("missing_input", "the DeepPCB copy does not exist", file=data, fix=fix)
    groups: dict[str, list[BoardPicture]] = {}
    for folder in sorted(data.glob("group*")):
        number = folder.name.removeprefix("group")
        pictures = [
            _picture(folder, number, test) for test in sorted((folder / number).glob("*_test.jpg"))
        ]
        if pictures:
            groups[folder.name] = pictures
    if not groups:
        raise HardStop(
            "missing_input", "no groupNNNNN/NNNNN/*_test.jpg below the folder", file=data, fix=fix
        )
    return groups


def _picture(folder: Path, number: str, test: Path) -> BoardPicture:
    name = test.name.removesuffix("_test.jpg")
    template = test.with_name(f"{name}_temp.jpg")
    boxes = folder / f"{number}_not" / f"{name}.txt"
    for file, what in ((template, "template"), (boxes, "box file")):
        if not file.is_file():
            raise HardStop(
                "missing_input",
                f"board picture {name} has no {what}",
                file=file,
                fix="complete the copy of DeepPCB, or remove the picture",
            )
    return BoardPicture(folder.name, name, test, template, boxes)


def read_boxes(path: str | Path) -> list[Box]:
    """Return the boxes of a file; raises ``csv_invalid`` with the line of the first error."""
    path = Path(path)
    boxes = []
    for line_number, line in enumerate(lines_of(read_text(path, code="csv_invalid")), start=1):
        if not line.strip():
            continue
        cells = [cell for cell in re.split(r"[,\s]+", line.strip()) if cell]
        problem = None
        if len(cells) != 5:
            problem = f"{len(cells)} values instead of five"
        elif not all(re.fullmatch(r"[0-9]{1,9}", cell) for cell in cells):
            problem = "a value that is no whole number, or none of a picture"
        else:
            x1, y1, x2, y2, kind = map(int, cells)
            if x2 <= x1 or y2 <= y1:
                problem = "an empty box"
            elif kind not in DEFECT_TYPES:
                problem = f"type {kind}, known are 1 to {len(DEFECT_TYPES)}"
        if problem:
            raise HardStop(
                "csv_invalid",
                f"box line {line.strip()[:SHOWN]!r} has {problem}",
                file=path,
                row=line_number,
                fix="a line reads: x1 y1 x2 y2 type",
            )
        boxes.append(Box(x1, y1, x2, y2, DEFECT_TYPES[kind]))
    return boxes


def read_pair(picture: BoardPicture) -> tuple[np.ndarray, np.ndarray]:
    """Return (test, template) as (h, w) uint8; raises ``image_invalid`` when they do not fit."""
    test, template = (_grey(path) for path in (picture.test, picture.template))
    if test.shape != template.shape:
        raise HardStop(
            "image_invalid",
            f"test picture {test.shape[::-1]} and template {template.shape[::-1]} differ in size",
            file=picture.test,
        )
    return test, template


def _grey(path: Path) -> np.ndarray:
    # What is refused everywhere first: OpenCV cuts 16 bits to the high byte and turns pictures that
    # say so (boxes stay), and takes the size that a spoiled header names, up to gigabytes.
    require_file(path, code="image_invalid")
    width, height = decode(path).size
    with Image.open(path) as picture:
        kind = picture.format
    if kind != "JPEG":  # OpenCV believes a PNG's or TIFF's every length, up to gigabytes
        raise HardStop(
            "image_invalid",
            f"a {kind} picture under a JPEG's name",
            file=path,
            fix="DeepPCB's pictures are JPEGs: take the file from its repository again",
        )
    try:
        pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    except cv2.error as error:
        raise HardStop(
            "image_invalid", f"cannot be decoded ({shortened(error)})", file=path
        ) from None
    if pixels is None or pixels.shape != (height, width):
        raise HardStop("image_invalid", "cannot be decoded", file=path)
    return pixels
