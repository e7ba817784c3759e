"""CVAT's own XML, "CVAT for images 1.1": ``annotations.xml`` beside ``images/``.

Boxes, polygons, polylines, ellipses and masks count by their bounds, turned ones by those of the
turned box. A picture that the file lists without a shape is a good board; a tag says nothing of a
place and is left over.
"""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree.ElementTree import Element

from deft.core.errors import HardStop
from deft.importers.boards import Found, FoundBoards, read_boards, unannotated
from deft.importers.boxes import Mark, MarkedPicture
from deft.importers.folder_settings import FolderSettings
from deft.importers.parts import LeftOver, Source
from deft.importers.picture_tree import Names, Tree
from deft.importers.xml_files import number, read_xml

LICENCE = "CVAT's annotations carry no licence"
POINTS = ("polygon", "polyline", "points")


def read(tree: Tree, settings: FolderSettings) -> Source:
    """Return the parts of a data set in CVAT's XML; raises HardStop for broken files."""
    return read_boards(tree, settings, "cvat", find, lambda tree: LICENCE)


def find(tree: Tree, pictures: list[Path]) -> FoundBoards:
    """Return the annotated pictures among ``pictures``; raises HardStop for broken files."""
    found, names = Found(tree), Names(pictures)
    for path in tree.ending([".xml"]):
        top = read_xml(path)
        shown = tree.shown(path)
        if top.tag != "annotations":
            other = ": import_folder.layout voc reads it" if top.tag == "annotation" else ""
            found.left_over.append(LeftOver(shown, f"XML of another kind{other}"))
            continue
        if top.find("track") is not None:
            raise HardStop(
                "csv_invalid",
                "annotations of a video (<track>), whose frames have no names",
                file=path,
                fix='export as "CVAT for images 1.1"',
            )
        for index, image in enumerate(top.findall("image"), start=1):
            name = image.get("name", "")
            picture = found.only(names.named(name, path) if name else [], path, name or f"{index}")
            if picture is None:
                continue
            size = int(_of(image, "width", name, path)), int(_of(image, "height", name, path))
            marks = []
            for place, shape in enumerate(image, start=1):
                where = f"{name}, <{shape.tag}> {place}"
                corners = _bounds(shape, where, path)
                if corners is None:
                    found.left_over.append(LeftOver(f"{shown}: {where}", "has no place"))
                    continue
                marks.append(Mark(*corners, (shape.get("label") or "").strip() or None, where))
            found.add(MarkedPicture(picture, shown, marks, size))
    return found.boards(unannotated(tree, pictures, found.taken))


def _of(element: Element, key: str, where: str, path: Path) -> float:
    return number(element.get(key), f"{where}: {key}", path)


def _bounds(shape: Element, where: str, path: Path) -> tuple[float, float, float, float] | None:
    turn = math.radians(number(shape.get("rotation", "0"), f"{where}: rotation", path))
    if shape.tag == "box":
        x1, y1, x2, y2 = (_of(shape, key, where, path) for key in ("xtl", "ytl", "xbr", "ybr"))
        return _turned((x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / 2, (y2 - y1) / 2, turn)
    if shape.tag in POINTS:
        pairs = [pair.split(",") for pair in (shape.get("points") or "").split(";") if pair.strip()]
        if not pairs or any(len(pair) != 2 for pair in pairs):
            raise HardStop("csv_invalid", f"{where}: points are no pairs x,y", file=path)
        xs = [number(pair[0], f"{where}: points", path) for pair in pairs]
        ys = [number(pair[1], f"{where}: points", path) for pair in pairs]
        return min(xs), min(ys), max(xs), max(ys)
    if shape.tag == "ellipse":
        x, y, rx, ry = (_of(shape, key, where, path) for key in ("cx", "cy", "rx", "ry"))
        return _turned(x, y, rx, ry, turn)
    if shape.tag == "mask":
        left, top, width, height = (
            _of(shape, key, where, path) for key in ("left", "top", "width", "height")
        )
        return left, top, left + width, top + height
    return None


def _turned(
    x: float, y: float, half_width: float, half_height: float, turn: float
) -> tuple[float, float, float, float]:
    """Return the bounds of a box around (x, y) that is turned by ``turn`` radians."""
    cos, sin = abs(math.cos(turn)), abs(math.sin(turn))
    wide, high = half_width * cos + half_height * sin, half_width * sin + half_height * cos
    return x - wide, y - high, x + wide, y + high
