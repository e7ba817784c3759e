"""MVTec AD and what is published in its layout: ``<object>/{train,test}/<good or a defect>/``.

Read are MVTec AD, LOCO, AD 2 and 3D-AD (``rgb`` alone), VisA as its own script rearranges it
(``1cls``, ``2cls_…``), PCB-Bank, BTAD (``ok``, ``ko``) and RobustAD (``…_data_dir_test3``). A
picture's defect is its folder's name. Masks are not read: the loop judges whole parts.

AD 2 photographs a part under several illuminations (``003_regular``, ``003_shift_2``): these stay
together in a split. Its private test sets have no labels and become no rows.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from deft.importers.parts import FoundPart, LeftOver, Picture, Source
from deft.importers.picture_tree import Tree
from deft.importers.unpaired import (
    GOOD,
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

NAME = "mvtec"
SPLIT = re.compile(
    r"(?:.+_data_dir_)?(train|validation|val|test)(_public|_private|_private_mixed|\d+)?"
)
MASKS = ("ground_truth", "masks", "gt", "xyz", "depth")
LIGHTING = re.compile(r"(\d+)_(?:regular|overexposed|underexposed|mixed|shift_\d+)")
AD = (
    *("bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut", "pill"),
    *("screw", "tile", "toothbrush", "transistor", "wood", "zipper"),
)
AD_2 = ("can", "fabric", "fruit_jelly", "rice", "sheet_metal", "vial", "wallplugs", "walnuts")
LOCO = ("breakfast_box", "juice_bottle", "pushpins", "screw_bag", "splicing_connectors")
VISA = (
    *("candle", "capsules", "cashew", "chewinggum", "fryum", "macaroni1", "macaroni2"),
    *("pcb1", "pcb2", "pcb3", "pcb4", "pipe_fryum"),
)
BANK = ("pcb5", "pcb6", "pcb7")
UNKNOWN = Licence(
    "unknown: MVTec's layout, and none of the sets that this project knows. Settle it before a "
    "model trained on it inspects parts"
)
Key = tuple[Path, str, str, str]  # the object's folder, split, its variant, kind


def find(
    tree: Tree,
    classes: Sequence[str] = (),
    label: Callable[[str], str] = str,
    keep_split: bool = False,
) -> Source:
    """Return the parts of all (or the named) objects.

    Parameters
    ----------
    classes: see :func:`deft.importers.unpaired.chosen`. label: a defect's folder -> PASS or a
        defect's name. keep_split: parts keep the role of their split.

    Raises
    ------
    HardStop ``missing_input`` or ``config_invalid``.
    """
    placed = {path: key for path in tree.pictures() if (key := _place(tree, path)) is not None}
    objects = chosen(tree, (key[0] for key in placed.values()), classes)
    stems = {(path.parent, path.stem.casefold()) for path in placed}
    counts: Counter[tuple[str, str]] = Counter()
    parts = []
    for path in tree.pictures():
        if path not in placed:
            if not _is_mask(tree, path):
                counts[tree.shown(path.parent), "outside of train, validation and test"] += 1
            continue
        folder, split, variant, kind = placed[path]
        if folder not in objects or kind in MASKS:
            continue
        mask_of = path.stem.casefold().removesuffix("_mask")
        if mask_of != path.stem.casefold() and (path.parent, mask_of) in stems:
            counts[tree.shown(path.parent), "masks beside their pictures"] += 1
            continue
        if not kind or "private" in variant:
            counts[tree.shown(path.parent), "no labels are published for them"] += 1
            continue
        good = kind.casefold() in GOOD
        where = f"{split}{variant}"
        scene = LIGHTING.fullmatch(path.stem)
        name = objects[folder]
        parts.append(
            FoundPart(
                name=f"{name}_{where}_{kind}_{path.stem}",
                board=f"{name}/{where}/{kind}/{scene[1]}" if scene else "",
                label=PASS if good else label(kind),
                pictures={"": Picture(path)},
                origin=tree.shown(path),
                part_type=name,
                role=KEPT_AS[split] if keep_split else None,
            )
        )
    parts, skipped = without_skipped(parts)
    licence = _licence({name.casefold() for name in objects.values()}, set(placed.values()), tree)
    notes = [
        f"{name}: {told([part for part in parts if part.part_type == name])}"
        for name in objects.values()
    ]
    lit = sum(1 for part in parts if part.board)
    if lit:
        notes.append(f"{lit} picture(s) under several illuminations: a part's stay together")
    if keep_split:
        check_kept(parts, tree.root, "the published split")
    left_over: list[LeftOver] = [*tree.left_over, *grouped(counts), *skipped]
    return Source(NAME, tree.root, parts, left_over, licence.text, [*notes, *licence.notes()])


def _place(tree: Tree, path: Path) -> Key | None:
    """Return where a picture stands, None outside of any split; kind "" = the split has none."""
    parts = path.relative_to(tree.root).parts
    lower = [part.casefold() for part in parts[:-1]]
    at = [(i, found) for i, part in enumerate(lower) if (found := SPLIT.fullmatch(part))]
    if not at or any(part in MASKS for part in lower[: at[-1][0]]):
        return None
    i, found = at[-1]
    inner = lower[i + 1 :]
    masked = next((part for part in inner if part in MASKS), "")
    kind = masked or (parts[i + 1] if inner else "")
    return tree.root.joinpath(*parts[:i]), found[1], found[2] or "", kind


def _is_mask(tree: Tree, path: Path) -> bool:
    return any(part.casefold() in MASKS for part in path.relative_to(tree.root).parts[:-1])


def _licence(names: set[str], placed: set[Key], tree: Tree) -> Licence:
    """Return what is known of the set that has these objects; several sets: all of them."""
    variants = {key[2] for key in placed}
    robust = any("_data_dir_" in part for path in tree.files for part in path.parts)
    found = [
        licence
        for known, licence in (
            (names <= set(AD), Licence(f"MVTec AD, {NON_COMMERCIAL}", True)),
            (names <= set(LOCO), Licence(f"MVTec LOCO AD, {NON_COMMERCIAL}", True)),
            (
                names <= set(AD_2) and "_public" in variants,
                Licence(f"MVTec AD 2, {NON_COMMERCIAL}", True),
            ),
            (
                bool(names & set(BANK)) and names <= {*VISA, *BANK},
                Licence(
                    "PCB-Bank, of VisA (CC BY 4.0), Real-IAD and VISION pictures; Real-IAD's are "
                    f"{NON_COMMERCIAL}",
                    True,
                ),
            ),
            (names <= set(VISA), Licence("VisA, CC BY 4.0: name its authors")),
            (robust, Licence("RobustAD, CC BY 4.0: name its authors")),
        )
        if known
    ]
    return found[0] if found else UNKNOWN
