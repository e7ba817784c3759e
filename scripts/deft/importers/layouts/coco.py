"""COCO: JSON files with ``images``, ``annotations`` and ``categories``.

Roboflow, Label Studio and CVAT write them; every one below the root is read. A picture that
``images`` lists without an annotation is a good board. Crowds and records without a known category
say where something lies and not what: no good part is cut there.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from deft.core.errors import HardStop
from deft.core.reading import kind_of, read_json
from deft.importers.boards import Found, FoundBoards, read_boards, unannotated
from deft.importers.boxes import Mark, MarkedPicture
from deft.importers.folder_settings import FolderSettings
from deft.importers.parts import LeftOver, Source
from deft.importers.picture_tree import Names, Tree

LICENCE = "none told: look at the page that the set comes from"
KEYS = ("images", "annotations")
SHOWN = 60
MOST = 1e9  # a coordinate; a whole number of JSON can be beyond any float
FIX = "export the annotations as COCO again"


def read(tree: Tree, settings: FolderSettings) -> Source:
    """Return the parts of a data set in COCO; raises HardStop for broken files."""
    return read_boards(tree, settings, "coco", find, licence)


def find(tree: Tree, pictures: list[Path]) -> FoundBoards:
    """Return the annotated pictures among ``pictures``; raises HardStop for broken files."""
    found, names = Found(tree), Names(pictures)
    for path in tree.ending([".json"]):
        data = read_json(path, code="csv_invalid")
        if not isinstance(data, dict) or not set(KEYS) & data.keys():
            found.left_over.append(LeftOver(tree.shown(path), "no COCO file"))
            continue
        _take(data, path, names, found)
    return found.boards(unannotated(tree, pictures, found.taken))


def licence(tree: Tree) -> str:
    """Return the licences that the files name, as one sentence."""
    told = []
    for path in tree.ending([".json"]):
        data = read_json(path, code="csv_invalid")
        rows = data.get("licenses") if isinstance(data, dict) else None
        for row in rows if isinstance(rows, list) else []:
            text = str(row.get("name") or row.get("url") or "") if isinstance(row, dict) else ""
            told.append(text.strip()[:SHOWN])
    named = ", ".join(dict.fromkeys(filter(None, told)))
    return f"the files say: {named}" if named else LICENCE


def _take(data: dict[str, Any], path: Path, names: Names, found: Found) -> None:
    shown = found.tree.shown(path)
    categories = _categories(data, path)
    boards: dict[Any, MarkedPicture | None] = {}
    for index, row in enumerate(_rows(data, "images", path)):
        where = f"images[{index}]"
        key, name = row.get("id"), row.get("file_name")
        if not isinstance(key, int | str) or not isinstance(name, str) or not name.strip():
            raise _broken(path, f"{where} has id {key!r} and file_name {name!r}")
        if key in boards:
            raise _broken(path, f"{where}: two pictures have the id {key!r}")
        picture = found.only(names.named(name, path), path, name)
        size = _size(row, where, path)
        boards[key] = None if picture is None else MarkedPicture(picture, shown, [], size)
    unknown: set[Any] = set()
    for index, row in enumerate(_rows(data, "annotations", path)):
        where = f"annotations[{index}]"
        key = row.get("image_id")
        if not isinstance(key, int | str) or key not in boards:
            found.left_over.append(LeftOver(f"{shown}: {where}", f"no image has the id {key!r}"))
            continue
        board = boards[key]
        if board is not None:
            x1, y1, x2, y2 = _bounds(row, where, path)
            name = None if row.get("iscrowd") else _name(row, categories, where, path)
            if categories and name is None and not row.get("iscrowd"):
                unknown.add(row.get("category_id"))
            board.marks.append(Mark(x1, y1, x2, y2, name, where))
    if not categories and any(board and board.marks for board in boards.values()):
        found.notes.append(f"{shown} names no categories: they are called class0, class1, …")
    if unknown:
        found.notes.append(f"{shown}: categories {sorted(map(str, unknown))} are not named there")
    for board in boards.values():
        if board is not None:
            found.add(board)


def _rows(data: dict[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    rows = data.get(key, [] if key == "annotations" else None)
    if not isinstance(rows, list):
        raise _broken(path, f"{key} is {'missing' if rows is None else kind_of(rows)}")
    wrong = next((i for i, row in enumerate(rows) if not isinstance(row, dict)), None)
    if wrong is not None:
        raise _broken(path, f"{key}[{wrong}] is {kind_of(rows[wrong])}")
    return rows


def _categories(data: dict[str, Any], path: Path) -> dict[Any, str]:
    found: dict[Any, str] = {}
    for index, row in enumerate(
        _rows({"categories": data.get("categories") or []}, "categories", path)
    ):
        key, name = row.get("id"), row.get("name")
        if not isinstance(key, int | str) or not isinstance(name, str) or not name.strip():
            raise _broken(path, f"categories[{index}] has id {key!r} and name {name!r}")
        if found.setdefault(key, name.strip()) != name.strip():
            raise _broken(path, f"category {key!r} is both {found[key]!r} and {name.strip()!r}")
    return found


def _name(row: dict[str, Any], categories: dict[Any, str], where: str, path: Path) -> str | None:
    key = row.get("category_id")
    if key is not None and not isinstance(key, int | str):
        raise _broken(path, f"{where}.category_id is {kind_of(key)}")
    if not categories:
        return None if key is None else f"class{key}"
    return categories.get(key)


def _size(row: dict[str, Any], where: str, path: Path) -> tuple[int, int] | None:
    if row.get("width") is None or row.get("height") is None:
        return None
    return int(_number(row["width"], where, path)), int(_number(row["height"], where, path))


def _bounds(row: dict[str, Any], where: str, path: Path) -> tuple[float, float, float, float]:
    """Return the corners of ``bbox`` (x, y, width, height in px), or of the polygons."""
    box, shapes = row.get("bbox"), row.get("segmentation")
    if isinstance(box, list) and len(box) == 4:
        x, y, width, height = (_number(value, f"{where}.bbox", path) for value in box)
        return x, y, x + width, y + height
    polygons = shapes if isinstance(shapes, list) else []
    flat = [
        _number(value, f"{where}.segmentation", path)
        for shape in polygons
        if isinstance(shape, list)
        for value in shape[: len(shape) // 2 * 2]
    ]
    if not flat:
        raise _broken(path, f"{where} has neither a bbox of four numbers nor a polygon")
    return min(flat[0::2]), min(flat[1::2]), max(flat[0::2]), max(flat[1::2])


def _number(value: Any, where: str, path: Path) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if not good or abs(value) > MOST or not math.isfinite(value):
        raise _broken(path, f"{where} holds {str(value)[:SHOWN]!r}, no number of a picture")
    return float(value)


def _broken(path: Path, what: str) -> HardStop:
    return HardStop("csv_invalid", what, file=path, fix=FIX)
