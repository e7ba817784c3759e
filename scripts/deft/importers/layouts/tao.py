"""TAO's own tables: CSV files and a spec of Visual ChangeNet (``classify``) or Optical Inspection.

The spec says which lights a part has (``input_map``), how files end (``image_ext``) and how many
goldens stand beside a test picture (``num_golden``); its paths are those of a container, so they
are looked for below the root by their ends. Without a spec the tables are the CSV files that have
the four columns, and lights and ending are read from the names of the first row's pictures.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from deft.core.errors import HardStop
from deft.core.yaml_files import read_mapping
from deft.importers.folder_settings import FolderSettings
from deft.importers.parts import FoundPart, LeftOver, Source
from deft.importers.picture_tree import PICTURES, Names, Tree
from deft.importers.tao_folders import TRIED, Folders
from deft.importers.tao_rows import Facts, Rows
from deft.tables.changenet_table import MANDATORY, line_of, read_table
from deft.tables.csv_text import read_bytes

LICENCE = "the tables' owner's"
TABLES = {"train": "base", "validation": "validation", "test": "kpi", "infer": "kpi"}
# TAO's documented order, for tables without a spec; other lights follow by name.
LIGHTS = ("LowAngleLight", "SolderLight", "UniformLight", "WhiteLight")
HEADER_BYTES = 1 << 12


@dataclass(frozen=True)
class FoundRows:
    """Parts, what is left over, and notes."""

    parts: list[FoundPart]
    left_over: list[LeftOver]
    notes: list[str]


def read(tree: Tree, settings: FolderSettings) -> Source:
    """Return the parts of TAO's tables; raises HardStop as :func:`find` does."""
    found = find(
        tree,
        settings.label,
        lambda path: settings.board_of(tree.shown(path.with_suffix(""))),
        settings.keep_split,
    )
    licence = settings.licence or LICENCE
    return Source("tao", tree.root, found.parts, found.left_over, licence, found.notes)


def find(
    tree: Tree,
    label: Callable[[str], str] = str,
    board: Callable[[Path], str | None] = lambda path: None,
    keep_split: bool = False,
) -> FoundRows:
    """Return the parts of all tables.

    Parameters
    ----------
    label: a cell -> PASS or a defect's name. board: a picture -> its board, where no column
        ``boardname`` says so. keep_split: parts keep the role of their table in the spec.

    Raises
    ------
    HardStop ``missing_input``, ``csv_invalid``, ``spec_invalid`` or ``path_escape``.
    """
    facts = _facts(tree)
    left_over = list(tree.left_over)
    notes = list(facts.notes)
    tables = facts.tables or _tables(tree, left_over)
    if not tables:
        raise HardStop(
            "missing_input",
            f"no table with the columns {', '.join(MANDATORY)} lies below the folder",
            file=tree.root,
            fix="set import_folder.root to the folder that holds TAO's tables and pictures",
        )
    parts: list[FoundPart] = []
    folders = Folders(tree)
    for path, (role, images) in tables.items():
        frame = read_table(path, check_labels=False)
        root = folders.best(path, images, frame)
        told = facts if facts.source else _of_names(folders, root, frame, path)
        if told is not facts:
            shown = ", ".join(told.lights) or "no light"
            notes.append(f"{tree.shown(path)}: no spec; by the names: {shown}, {told.ext}")
        rows = Rows(folders, root, told, path, role if keep_split else None, label, board)
        found = rows.parts(frame, left_over)
        notes.append(
            f"{tree.shown(path)}: {len(found)} of {len(frame)} row(s), pictures below "
            f"{tree.shown(root)}"
        )
        parts += found
    if not parts:
        why = f"; the last row: {left_over[-1].why}" if left_over else ""
        raise HardStop(
            "missing_input",
            f"no row of {len(tables)} table(s) has its pictures{why}",
            file=left_over[-1].what if left_over else next(iter(tables)),
            fix="set import_folder.root to the folder that holds the tables and the pictures",
        )
    return FoundRows(parts, left_over, notes)


def _tables(tree: Tree, left_over: list[LeftOver]) -> dict[Path, tuple[str, str]]:
    """Return the CSV files that have the four columns."""
    found = {}
    for path in tree.ending([".csv"]):
        head = read_bytes(path, HEADER_BYTES).split(b"\n", 1)[0].decode("utf-8-sig", "replace")
        if set(MANDATORY) <= {name.strip().strip('"') for name in re.split(r"[,;\t]", head)}:
            found[path] = ("", "")
        else:
            left_over.append(LeftOver(tree.shown(path), "no table of TAO's"))
    return found


def _facts(tree: Tree) -> Facts:
    """Return what the specs below the root say; several must agree."""
    found: list[Facts] = []
    for path in tree.ending([".yaml", ".yml"]):
        data = read_mapping(path, code="spec_invalid").get("dataset")
        part = data.get("classify") or data if isinstance(data, dict) else None
        if isinstance(part, dict) and any(f"{name}_dataset" in part for name in TABLES):
            found.append(_spec(tree, path, part))
    if not found:
        return Facts()
    first = found[0]
    for other in found[1:]:
        for name in ("ext", "lights", "goldens"):
            if getattr(other, name) != getattr(first, name):
                raise HardStop(
                    "spec_invalid",
                    f"{name} {getattr(other, name)!r} here, {getattr(first, name)!r} in "
                    f"{tree.shown(first.source or tree.root)}",
                    file=other.source,
                    fix="keep one spec below import_folder.root",
                )
    tables = {path: told for facts in reversed(found) for path, told in facts.tables.items()}
    notes = tuple(note for facts in found for note in facts.notes)
    return Facts(first.source, first.ext, first.lights, first.goldens, tables, notes)


def _spec(tree: Tree, path: Path, part: dict[str, Any]) -> Facts:
    ext, lights, goldens = (part.get(k) for k in ("image_ext", "input_map", "num_golden"))
    order = lights if isinstance(lights, dict) else {}
    good = (
        isinstance(ext or "", str)
        and isinstance(lights or {}, dict)
        and all(isinstance(k, str) and isinstance(v, int) for k, v in order.items())
        and isinstance(goldens or 1, int)
    )
    if not good:
        raise HardStop(
            "spec_invalid",
            f"image_ext {ext!r}, input_map {lights!r}, num_golden {goldens!r}",
            file=path,
            fix="image_ext is text, input_map a light and its number each, num_golden a number",
        )
    tables: dict[Path, tuple[str, str]] = {}
    notes = []
    names = Names(tree.ending([".csv"]))
    for name, role in TABLES.items():
        data = part.get(f"{name}_dataset")
        told = data.get("csv_path") if isinstance(data, dict) else None
        if not isinstance(told, str) or not told.strip() or not isinstance(data, dict):
            continue
        files = names.named(told, path)
        if len(files) == 1:
            tables.setdefault(files[0], (role, str(data.get("images_dir") or "")))
        else:
            notes.append(f"{tree.shown(path)}: {name}_dataset {told} is not below the folder")
    if part.get("concat_type") == "grid":
        notes.append(
            f"{tree.shown(path)}: lights stand in a grid {part.get('grid_map') or '2 x 2'}"
        )
    if (goldens or 1) > 1:
        notes.append(f"{tree.shown(path)}: {goldens} goldens stand beside a test picture")
    return Facts(path, ext or ".jpg", tuple(order), goldens or 1, tables, tuple(notes))


def _of_names(folders: Folders, root: Path, frame: pd.DataFrame, table: Path) -> Facts:
    """Return ending and lights as the pictures of the first row that has any are called."""
    for row in range(min(len(frame), TRIED)):
        folder = folders.of(root, frame["input_path"][row], table, row)
        name = frame["object_name"][row].strip("/")
        if folder is None:
            continue
        files = [Path(n) for n in folders.names(folder) if Path(n).suffix.lower() in PICTURES]
        found: dict[str, set[str]] = {}  # ending -> lights, "" for none
        for file in files:
            if file.stem == name:
                found.setdefault(file.suffix.lower(), set()).add("")
            elif file.stem.startswith(f"{name}_") and "_" not in file.stem[len(name) + 1 :]:
                light = file.stem.removeprefix(f"{name}_")
                found.setdefault(file.suffix.lower(), set()).add(light)
        if len(found) > 1 or any("" in lights and len(lights) > 1 for lights in found.values()):
            raise HardStop(
                "spec_invalid",
                f"without a spec nobody knows which pictures of {name} count: "
                f"{', '.join(str(file) for file in files if file.stem.startswith(name))}",
                file=table,
                row=line_of(row),
                fix="put the experiment spec below the root, with image_ext and input_map",
            )
        for ext, lights in found.items():
            known = [light for light in LIGHTS if light in lights]
            further = sorted(light for light in lights if light and light not in known)
            return Facts(ext=ext, lights=(*known, *further))
    return Facts(ext=".jpg")
