"""VisA as Amazon publishes it: ``<object>/Data/Images/{Normal,Anomaly}`` and ``image_anno.csv``.

The table names the defects of a picture, several in one cell where it has several: the first is
the label. Without the table a defective picture is an ``anomaly``, which is all that the folders
and ``split_csv`` say. VisA rearranged by its own script has MVTec's layout.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from deft.core.errors import HardStop
from deft.importers.parts import FoundPart, LeftOver, Picture, Source
from deft.importers.picture_tree import Tree
from deft.importers.unpaired import (
    GOOD,
    KEPT_AS,
    Licence,
    check_kept,
    chosen,
    grouped,
    told,
    without_skipped,
)
from deft.tables.changenet_table import PASS
from deft.tables.csv_text import decode_text, read_bytes, read_rows

NAME = "visa"
LICENCE = Licence("VisA, CC BY 4.0: name its authors")
KINDS = {"normal": True, "anomaly": False}  # folder -> whether its pictures are good
ANYTHING = "anomaly"
ANNOTATIONS, ANNOTATED = "image_anno.csv", ("image", "label")
SPLIT_COLUMNS = ("object", "split", "label", "image")
Key = tuple[str, str]  # folder and stem of a picture, small letters


def find(
    tree: Tree,
    classes: Sequence[str] = (),
    label: Callable[[str], str] = str,
    keep_split: bool = False,
) -> Source:
    """Return the parts of all (or the named) objects; arguments as of :func:`mvtec.find`.

    Raises
    ------
    HardStop ``missing_input``, ``csv_invalid`` (a broken table, or one that calls a picture both
    good and defective) or ``config_invalid``.
    """
    placed: dict[Path, Path] = {}
    counts: Counter[tuple[str, str]] = Counter()
    for path in tree.pictures():
        folder = _object(tree, path)
        if folder is not None:
            placed[path] = folder
        elif "masks" not in (part.casefold() for part in path.parts[len(tree.root.parts) : -1]):
            counts[tree.shown(path.parent), "not below Images/Normal or Images/Anomaly"] += 1
    objects = chosen(tree, placed.values(), classes)
    left_over = [*tree.left_over, *grouped(counts)]
    notes: list[str] = []
    split = _split(tree, objects, notes) if keep_split else {}
    parts: list[FoundPart] = []
    for folder, name in objects.items():
        own = {_key(path): path for path, where in placed.items() if where == folder}
        table = next((p for p in tree.ending([".csv"]) if _is_table(p, folder)), None)
        defects = _annotations(tree, table, own, left_over) if table else {}
        mine = []
        for path in sorted(own.values()):
            found = _part(tree, path, name, defects, left_over, label)
            if found is not None:
                role = split.get((name.casefold(), *_key(path)))
                mine.append(replace(found, role=role))
        mine, skipped = without_skipped(mine)
        left_over += skipped
        notes.append(f"{name}: {told(mine)}" + ("" if table else f" (no {ANNOTATIONS})"))
        several = sum(1 for names in defects.values() if len(names) > 1)
        if several:
            notes.append(f"{name}: {several} picture(s) have several defects; the first counts")
        parts += mine
    if keep_split:
        missing = sum(1 for part in parts if part.role is None)
        if missing:
            notes.append(f"{missing} part(s) are not in the published split: the loop's decides")
        check_kept(parts, tree.root, "the published split")
    return Source(NAME, tree.root, parts, left_over, LICENCE.text, notes)


def _object(tree: Tree, path: Path) -> Path | None:
    """Return the object's folder of a picture in ``[Data/]Images/{Normal,Anomaly}``."""
    parts = path.relative_to(tree.root).parts
    lower = [part.casefold() for part in parts]
    if len(parts) < 3 or lower[-2] not in KINDS or lower[-3] != "images":
        return None
    above = len(parts) - 3
    return tree.root.joinpath(*parts[: above - (above > 0 and lower[above - 1] == "data")])


def _key(path: Path | str) -> Key:
    parts = str(path).replace("\\", "/").casefold().split("/")
    return parts[-2] if len(parts) > 1 else "", parts[-1].rpartition(".")[0] or parts[-1]


def _is_table(path: Path, folder: Path) -> bool:
    return path.name.casefold() == ANNOTATIONS and path.parent in (folder, folder / "Data")


def _rows(path: Path, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """Return line number and cells of every row."""
    header, *rows = read_rows(path, decode_text(path, read_bytes(path)), columns)
    names = [name.strip().casefold() for name in header]
    missing = [name for name in columns if name not in names]
    if missing:
        raise HardStop(
            "csv_invalid",
            f"column(s) {missing} are missing; found {header[:12]}",
            file=path,
            row=1,
            fix="put back the table that the data set came with",
        )
    cells = ([cell.strip() for cell in row] for row in rows)
    return [(i, dict(zip(names, row, strict=True))) for i, row in enumerate(cells, start=2)]


def _annotations(
    tree: Tree, table: Path, own: dict[Key, Path], left_over: list[LeftOver]
) -> dict[Path, list[str]]:
    """Return picture -> its defects as the table names them; none = good."""
    found: dict[Path, tuple[int, list[str]]] = {}
    for line, row in _rows(table, ANNOTATED):
        path = own.get(_key(row["image"]))
        names = [name.strip() for name in row["label"].split(",") if name.strip()]
        if path is None:
            origin = f"{tree.shown(table)} line {line}"
            left_over.append(LeftOver(origin, f"no picture {row['image']}"))
            continue
        defects = [name for name in names if name.casefold() not in GOOD]
        if not names or (defects and len(defects) < len(names)):
            raise HardStop(
                "csv_invalid",
                f"label {row['label']!r} is " + ("good and a defect" if names else "empty"),
                file=table,
                row=line,
                fix="name the picture's defects, or normal",
            )
        known = found.setdefault(path, (line, defects))
        if known[1] != defects:
            raise HardStop(
                "csv_invalid",
                f"{row['image']} stands twice: {known[1] or 'normal'} and {defects or 'normal'}",
                file=table,
                row=[known[0], line],
                fix="keep the row that is true",
            )
    return {path: defects for path, (_, defects) in found.items()}


def _part(
    tree: Tree,
    path: Path,
    name: str,
    defects: dict[Path, list[str]],
    left_over: list[LeftOver],
    label: Callable[[str], str],
) -> FoundPart | None:
    kind = path.parent.name
    good = KINDS[kind.casefold()]
    names = defects.get(path, [] if good else [ANYTHING])
    if good == bool(names):
        says = ", ".join(names) or "normal"
        left_over.append(LeftOver(tree.shown(path), f"lies in {kind}, {ANNOTATIONS} says {says}"))
        return None
    more = f" ({', '.join(names)})" if len(names) > 1 else ""
    return FoundPart(
        name=f"{name}_{kind}_{path.stem}",
        board="",
        label=PASS if good else label(names[0]),
        pictures={"": Picture(path)},
        origin=tree.shown(path) + more,
        part_type=name,
    )


def _split(
    tree: Tree, objects: dict[Path, str], notes: list[str]
) -> dict[tuple[str, str, str], str]:
    """Return (object, folder, stem) -> role of the one published split that trains on defects."""
    tables: dict[Path, dict[tuple[str, str, str], str]] = {}
    wanted = {name.casefold() for name in objects.values()}
    for path in tree.ending([".csv"]):
        if path.name.casefold() == ANNOTATIONS:
            continue
        roles, defects = {}, False
        for line, row in _rows(path, SPLIT_COLUMNS):
            split, name = row["split"].casefold(), row["object"].casefold()
            if split not in KEPT_AS:
                raise HardStop(
                    "csv_invalid",
                    f"split {row['split']!r}, expected {', '.join(KEPT_AS)}",
                    file=path,
                    row=line,
                    fix="put back the table that the data set came with",
                )
            if name in wanted:
                roles[(name, *_key(row["image"]))] = KEPT_AS[split]
                defects |= KEPT_AS[split] == "base" and row["label"].casefold() not in GOOD
        if defects:
            tables[path] = roles
    if len(tables) != 1:
        told_tables = ", ".join(tree.shown(path) for path in tables) or "none"
        raise HardStop(
            "config_invalid",
            f"keep_split needs one split table with defects in training; found: {told_tables}",
            file=tree.root,
            fix="leave the one that counts below the root (2cls_highshot.csv, say), or set "
            "import_folder.keep_split: false",
        )
    ((path, roles),) = tables.items()
    notes.append(f"split by {tree.shown(path)}")
    return roles
