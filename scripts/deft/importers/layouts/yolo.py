"""YOLO: one text file for each picture (Ultralytics, Roboflow, Label Studio, CVAT, labelImg).

A line is ``class x_centre y_centre width height``, shares of the picture, or ``class x1 y1 x2 y2
x3 y3 …``, a polygon, of which the bounds are taken. An empty file is a good board; a picture
without a file is left over, unlike in a training of YOLO, where a lost file looks like a good
board.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from deft.core.errors import HardStop
from deft.core.reading import lines_of, read_json, read_text
from deft.core.yaml_files import read_yaml
from deft.importers.boards import Found, FoundBoards, read_boards, unannotated
from deft.importers.boxes import Mark, MarkedPicture
from deft.importers.folder_settings import FolderSettings
from deft.importers.parts import LeftOver, Source
from deft.importers.picture_tree import Tree, size_of

LICENCE = "none told: look at the page that the set comes from"
NAME_FILES = ("classes.txt", "obj.names", "notes.json")  # and any *.yaml with names
NO_LABELS = ("classes", "train", "valid", "val", "test")  # lists; README.* say so by their name
OVER = 1.02  # shares above this are no rounding: the line is in pixels
SHOWN = 80
MOST_CLASSES = 100_000


def read(tree: Tree, settings: FolderSettings) -> Source:
    """Return the parts of a data set in YOLO; raises HardStop for broken files."""
    return read_boards(tree, settings, "yolo", find, licence)


def licence(tree: Tree) -> str:
    """Return the licence that Roboflow's ``data.yaml`` names, as one sentence."""
    for path in tree.ending([".yaml", ".yml"]):
        data = read_yaml(path, code="csv_invalid")
        part = data.get("roboflow") if isinstance(data, dict) else None
        told = part.get("license") if isinstance(part, dict) else None
        if told:
            return f"{tree.shown(path)} says: {str(told)[:SHOWN]}"
    return LICENCE


def find(tree: Tree, pictures: list[Path]) -> FoundBoards:
    """Return the annotated pictures among ``pictures``; raises HardStop for broken files."""
    found = Found(tree)
    names, source = _names(tree)
    texts = {path.with_suffix(".txt"): path for path in tree.ending([".txt"])}
    used: set[Path] = set()
    unnamed: set[int] = set()
    claimed: dict[Path, list[Path]] = {}
    for picture in pictures:
        text = next((texts[path] for path in _label_files(tree, picture) if path in texts), None)
        if text is not None:
            claimed.setdefault(text, []).append(picture)
    for text, owners in sorted(claimed.items()):
        used.add(text)
        own = found.only(owners, text, text.name)
        if own is None:
            continue
        try:
            size = size_of(own)
        except ValueError as problem:
            found.left_over.append(LeftOver(tree.shown(own), str(problem)))
            continue
        marks = _marks(text, size, names, source, unnamed)
        found.add(MarkedPicture(own, tree.shown(text), marks))
    for text in texts.values():
        if text not in used and _is_label(text):
            found.left_over.append(LeftOver(tree.shown(text), "its picture is not here"))
    if unnamed:
        found.notes.append(
            f"no file names the classes ({', '.join(NAME_FILES)}, data.yaml): they are called "
            f"{', '.join(f'class{number}' for number in sorted(unnamed))}"
        )
    elif source:
        found.notes.append(f"classes from {tree.shown(source)}")
    return found.boards(unannotated(tree, pictures, found.taken))


def _label_files(tree: Tree, picture: Path) -> list[Path]:
    """Return where the text of a picture may lie: beside it, or in labels/ for images/."""
    below = picture.parent.relative_to(tree.root).parts
    folders = [picture.parent]
    for i in reversed(range(len(below))):
        if below[i].lower() == "images":
            folders.insert(0, tree.root.joinpath(*below[:i], "labels", *below[i + 1 :]))
    folders.append(picture.parent / "labels")
    stems = dict.fromkeys((picture.stem, quote(picture.stem), unquote(picture.stem)))
    return [folder / f"{stem}.txt" for folder in folders for stem in stems if stem]


def _is_label(text: Path) -> bool:
    return text.stem.lower() not in NO_LABELS and not text.stem.lower().startswith("readme")


def _names(tree: Tree) -> tuple[dict[int, str], Path | None]:
    """Return class number -> name and the file that says so; ``{}`` where none does."""
    told: dict[Path, dict[int, str]] = {}
    for path in tree.files:
        names: Any = None
        if path.suffix.lower() in (".yaml", ".yml"):
            data = read_yaml(path, code="csv_invalid")
            names = data.get("names") if isinstance(data, dict) else None
            if names is not None and "kpt_shape" in data:
                raise HardStop(
                    "csv_invalid",
                    "kpt_shape: the labels are of key points, not of boxes",
                    file=path,
                    fix="export the annotations as boxes",
                )
        elif path.name.lower() in ("classes.txt", "obj.names"):
            names = [line.strip() for line in lines_of(read_text(path, code="csv_invalid"))]
            while names and not names[-1]:
                names.pop()
        elif path.name.lower() == "notes.json":
            data = read_json(path, code="csv_invalid")
            rows = data.get("categories") if isinstance(data, dict) else None
            if isinstance(rows, list):
                names = {r.get("id"): r.get("name") for r in rows if isinstance(r, dict)}
        if names is not None:
            told[path] = _checked(names, path)
    if not told:
        return {}, None
    first, names = next(iter(told.items()))
    for path, others in told.items():
        common = names.keys() & others.keys()
        wrong = next((number for number in sorted(common) if names[number] != others[number]), None)
        if wrong is not None:
            raise HardStop(
                "csv_invalid",
                f"class {wrong} is {others[wrong]!r} here and {names[wrong]!r} in "
                f"{tree.shown(first)}",
                file=path,
                fix="keep the file that belongs to the labels, remove the other",
            )
        names = names | others
    return names, first


def _checked(names: Any, path: Path) -> dict[int, str]:
    if isinstance(names, list):
        names = dict(enumerate(names))
    good = isinstance(names, dict) and all(
        isinstance(number, int)
        and not isinstance(number, bool)
        and isinstance(name, str | int)
        and not isinstance(name, bool)
        and str(name).strip()
        for number, name in names.items()
    )
    if not good:
        raise HardStop(
            "csv_invalid",
            f"the names of the classes are {str(names)[:SHOWN]!r}",
            file=path,
            fix="give a list of names, or number: name; quote names like no, yes, on, off",
        )
    return {number: str(name).strip() for number, name in names.items()}


def _marks(
    text: Path,
    size: tuple[int, int],
    names: dict[int, str],
    source: Path | None,
    unnamed: set[int],
) -> list[Mark]:
    marks = []
    for row, line in enumerate(lines_of(read_text(text, code="csv_invalid")), start=1):
        cells = line.split()
        if not cells:
            continue
        problem, fix = "", "a line reads: class x_centre y_centre width height, shares of the size"
        values = [_number(cell) for cell in cells]
        number = int(values[0]) if values[0] >= 0 and values[0] == values[0] // 1 else -1
        shares = values[1:]
        polygon = len(shares) > 5 and len(shares) % 2 == 0
        if not all(map(math.isfinite, values)):
            problem = "a value that is no number"
        elif len(shares) == 5:
            problem = "six values: a prediction with its confidence, no annotation"
        elif len(shares) != 4 and not polygon:
            problem = f"{len(cells)} values"
        elif not 0 <= number <= MOST_CLASSES:
            problem = f"class {cells[0]}"
        elif max(shares) > OVER or min(shares) < 1 - OVER:
            problem = f"{max(shares, key=abs):g}, no share of the picture's size"
            fix = "export the labels normalised (0 to 1)"
        elif names and number not in names:
            problem = f"class {number}, and {source.name if source else ''} names {len(names)}"
            fix = "put the file of class names beside the labels that belongs to them"
        if problem:
            raise HardStop(
                "csv_invalid",
                f"label line {line.strip()[:SHOWN]!r} has {problem}",
                file=text,
                row=row,
                fix=fix,
            )
        if number not in names:
            unnamed.add(number)
        if polygon:
            xs, ys = shares[0::2], shares[1::2]
        else:
            x, y, width, height = shares
            xs, ys = [x - width / 2, x + width / 2], [y - height / 2, y + height / 2]
        marks.append(
            Mark(
                min(xs) * size[0],
                min(ys) * size[1],
                max(xs) * size[0],
                max(ys) * size[1],
                names.get(number, f"class{number}"),
                f"line {row}",
            )
        )
    return marks


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan
