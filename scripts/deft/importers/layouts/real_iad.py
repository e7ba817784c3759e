"""Real-IAD: ``<object>/{OK,NG/<defect>}/S0001/…_C1_….jpg``, five views of a sample, and its JSON.

A defect is seen in some views of its sample; ``realiad_jsons`` says in which. Each view is a part
of its own, compared with goldens of the same view (its ``part_type``), and a sample's views stay
together in a split. ``views: lights`` makes one part of a sample instead, its views side by side
as lights, defective when any view is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deft.core.errors import HardStop
from deft.core.reading import check_shape, read_json
from deft.importers.parts import FoundPart, LeftOver, Picture, Source
from deft.importers.picture_tree import Tree
from deft.importers.unpaired import (
    KEPT_AS,
    NON_COMMERCIAL,
    Licence,
    check_kept,
    chosen,
    grouped,
    told,
    without_skipped,
)
from deft.tables.changenet_table import PASS

NAME = "real_iad"
LICENCE = Licence(f"Real-IAD, {NON_COMMERCIAL}", non_commercial=True)
VIEW = re.compile(r"_(C\d+)(?:_|$)", re.IGNORECASE)
OK, NG = "ok", "ng"
# The settings that are published, in the order in which one is taken: all views, the top view.
JSONS = ("realiad_jsons", "realiad_jsons_sv")
ENTRY = {"anomaly_class": str, "image_path": str}
VIEWS = ("parts", "lights")


@dataclass(frozen=True)
class Shot:
    """One view of a sample. ``defect``: its class, "" = good; ``role``: of the published split."""

    path: Path
    folder: Path  # of the object
    sample: str
    view: str
    defect: str
    role: str | None = None


def find(
    tree: Tree,
    classes: Sequence[str] = (),
    label: Callable[[str], str] = str,
    keep_split: bool = False,
    views: str = VIEWS[0],
) -> Source:
    """Return the parts of all (or the named) objects; arguments as of :func:`mvtec.find`.

    Raises
    ------
    HardStop ``missing_input``, ``csv_invalid`` (a broken JSON, or one that says two things of a
    picture) or ``config_invalid``.
    """
    placed: list[Shot] = []
    counts: Counter[tuple[str, str]] = Counter()
    pictures = tree.pictures()
    taken = {path.with_suffix("") for path in pictures if path.suffix.lower() != ".png"}
    for path in pictures:
        stem = path.stem.removesuffix("_mask")
        if path.suffix.lower() == ".png" and path.with_name(stem) in taken:
            continue  # a mask
        shot = _shot(tree, path)
        if isinstance(shot, str):
            counts[tree.shown(path.parent), shot] += 1
        else:
            placed.append(shot)
    objects = chosen(tree, (shot.folder for shot in placed), classes)
    left_over: list[LeftOver] = [*tree.left_over, *grouped(counts)]
    notes: list[str] = []
    parts: list[FoundPart] = []
    for folder, name in objects.items():
        shots = [shot for shot in placed if shot.folder == folder]
        table = _table(tree, name)
        if table is None:
            notes.append(
                f"{name}: no realiad_jsons: every view of a defective sample counts as defective, "
                "also where nothing of it is seen"
            )
            if keep_split:
                raise HardStop(
                    "missing_input",
                    f"keep_split needs the published split of {name}",
                    file=tree.root,
                    fix="unpack realiad_jsons.zip below the root, or set "
                    "import_folder.keep_split: false",
                )
        else:
            notes.append(f"{name}: labels by {tree.shown(table)}")
            shots = _labelled(tree, table, name, shots, left_over)
        make = _by_view if views == VIEWS[0] else _by_sample
        mine, skipped = without_skipped(make(tree, name, shots, label, left_over))
        left_over += skipped
        notes.append(f"{name}: {told(mine)}")
        parts += mine
    if keep_split:
        check_kept(parts, tree.root, "the published split")
    else:
        parts = [replace(part, role=None) for part in parts]
    how = "each view is a part" if views == VIEWS[0] else "a sample's views are lights of one part"
    notes.append(f"{how}; a sample's views stay together in a split")
    return Source(NAME, tree.root, parts, left_over, LICENCE.text, [*notes, *LICENCE.notes()])


def _shot(tree: Tree, path: Path) -> Shot | str:
    """Return what a picture's path says of it, or why it is none of the layout."""
    parts = path.relative_to(tree.root).parts
    lower = [part.casefold() for part in parts[:-1]]
    at = next((i for i in reversed(range(len(lower))) if lower[i] in (OK, NG)), None)
    if at is None:
        return "not below OK or NG"
    bad = lower[at] == NG
    inner = parts[at + 1 : -1]
    if len(inner) < 1 + bad:
        return "no folder of a sample" + (", or none of a defect" if bad else "")
    view = VIEW.search(path.stem)
    if view is None:
        return "no view (C1 …) in the name"
    folder = tree.root.joinpath(*parts[:at])
    return Shot(path, folder, "/".join(parts[at:-1]), view[1].upper(), inner[0] if bad else "")


def _table(tree: Tree, name: str) -> Path | None:
    """Return the object's JSON: of all views, else of the top view."""
    found = [p for p in tree.ending([".json"]) if p.stem.casefold() == name.casefold()]
    for setting in JSONS:
        own = [path for path in found if path.parent.name.casefold() == setting]
        if len(own) > 1:
            raise HardStop(
                "config_invalid",
                f"{name} has two tables: {', '.join(tree.shown(path) for path in own)}",
                file=tree.root,
                fix="leave one of them below the root",
            )
        if own:
            return own[0]
    return None


def _labelled(
    tree: Tree, table: Path, name: str, shots: list[Shot], left_over: list[LeftOver]
) -> list[Shot]:
    """Return the shots that the JSON names, with its classes and splits."""
    data = read_json(table, code="csv_invalid")
    shape = {
        split: [ENTRY] for split in ("train", "test") if isinstance(data, dict) and data.get(split)
    }
    problem = check_shape(data, {"meta": {"normal_class": str}, **(shape or {"train": [ENTRY]})})
    if problem:
        raise _broken(table, f"not a split of Real-IAD: {problem}")
    normal = data["meta"]["normal_class"]
    own = {_key(shot.path.relative_to(shot.folder).as_posix(), name): shot for shot in shots}
    found: dict[str, Shot] = {}
    absent = 0
    for split in shape:
        for number, entry in enumerate(data[split]):
            key, told_class = _key(entry["image_path"], name), entry["anomaly_class"].strip()
            shot = own.get(key)
            if shot is None:
                absent += 1
                continue
            defect = "" if told_class == normal else told_class
            new = replace(shot, defect=defect, role=KEPT_AS[split])
            if found.setdefault(key, new) != new:
                raise _broken(
                    table,
                    f"{split}[{number}]: {entry['image_path']} is {told_class or 'nothing'} in "
                    f"{split}, and another class or in another split before",
                )
    if absent:
        left_over.append(LeftOver(tree.shown(table), f"{absent} picture(s) of it are not here"))
    unnamed = Counter(
        (tree.shown(shot.folder), f"not in {tree.shown(table)}")
        for key, shot in own.items()
        if key not in found
    )
    left_over += grouped(unnamed)
    return [shot for key, shot in found.items() if key in own]


def _broken(table: Path, message: str) -> HardStop:
    return HardStop("csv_invalid", message, file=table, fix="unpack realiad_jsons.zip again")


def _key(path: str, name: str) -> str:
    """Return how a picture is known: its path below the object's folder, without the ending."""
    parts = [part for part in re.split(r"[\\/]+", path.casefold()) if part not in ("", ".")]
    if parts and parts[0] == name.casefold():
        parts = parts[1:]
    return "/".join(parts).rpartition(".")[0]


def _by_view(
    tree: Tree,
    name: str,
    shots: Sequence[Shot],
    label: Callable[[str], str],
    left_over: list[LeftOver],
) -> list[FoundPart]:
    return [
        FoundPart(
            name=shot.path.stem,
            board=f"{name}/{shot.sample}",
            label=label(shot.defect) if shot.defect else PASS,
            pictures={"": Picture(shot.path)},
            origin=tree.shown(shot.path),
            part_type=f"{name}_{shot.view}",
            role=shot.role,
        )
        for shot in sorted(shots, key=lambda one: one.path)
    ]


def _by_sample(
    tree: Tree,
    name: str,
    shots: Sequence[Shot],
    label: Callable[[str], str],
    left_over: list[LeftOver],
) -> list[FoundPart]:
    samples: dict[str, dict[str, Shot]] = {}
    for shot in sorted(shots, key=lambda one: one.path):
        samples.setdefault(shot.sample, {}).setdefault(shot.view, shot)
    views = sorted({view for sample in samples.values() for view in sample})
    parts = []
    for sample, seen in samples.items():
        where = f"{tree.shown(next(iter(seen.values())).folder)}/{sample}"
        lacking = [view for view in views if view not in seen]
        if lacking:
            left_over.append(LeftOver(where, f"no view {', '.join(lacking)}"))
            continue
        defects = [seen[view].defect for view in views if seen[view].defect]
        parts.append(
            FoundPart(
                name=f"{name}_{sample.replace('/', '_')}",
                board=f"{name}/{sample}",
                label=label(defects[0]) if defects else PASS,
                pictures={view: Picture(seen[view].path) for view in views},
                origin=where,
                part_type=name,
                role=seen[views[0]].role,
            )
        )
    return parts
