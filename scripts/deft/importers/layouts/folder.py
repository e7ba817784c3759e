"""Pictures in folders: good ones, defective ones (with a folder per defect or not), goldens.

``OK/…``, ``NG/<defect>/…`` and ``golden/…`` below the root, by any names. Folders of a split may
stand above them (``train/OK``, ``test/NG/short``) or between. A picture's golden is the one at the
same path below the goldens' folder, of the same name, named as the folder of the picture, or as its
board; else the only one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path, PurePosixPath

from deft.core.errors import HardStop
from deft.importers.folder_settings import GROUP, SKIP, FolderSettings, below, folded
from deft.importers.part_goldens import PartGoldens
from deft.importers.parts import FoundPart, LeftOver, Picture, Source
from deft.importers.picture_tree import Tree
from deft.importers.rules import dates_told, light_told
from deft.tables.changenet_table import PASS

LICENCE = "not stated by the folder; set import_folder.licence"
DEFECT = "defect"  # what a bad picture is called whose folder names no defect
SPLITS = {
    **dict.fromkeys(("base", "train", "training"), "base"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("kpi", "test", "testing"), "kpi"),
    **dict.fromkeys(("pool", "mining_pool", "unlabeled", "unlabelled"), "pool"),
}
FOLDERS_SHOWN = 12
NO_SPLIT = (
    "keep_split: in no folder of a split; call it train, val, test or pool, or set keep_split: "
    "false"
)


def read(tree: Tree, settings: FolderSettings) -> Source:
    """Return the parts of a folder; raises HardStop ``missing_input`` where one side is empty."""
    golden = below(tree.root, settings.golden, "golden") if settings.golden else None
    left_over = list(tree.left_over)
    pictures = tree.pictures(but=golden)
    taken = set(pictures)
    for path in tree.files:
        if path not in taken and (golden is None or golden not in (path, *path.parents)):
            left_over.append(LeftOver(tree.shown(path), "no picture of a kind that is read"))
    placed: dict[tuple[str, str, str | None, str], dict[str, Path]] = defaultdict(dict)
    notes: Counter[str] = Counter()
    splits: Counter[str] = Counter()
    for path in pictures:
        shown = PurePosixPath(tree.shown(path))
        label, role, said = _meaning(shown, settings)
        if said is None or label == SKIP:
            why = "left out by labels" if said is not None else _unplaced(settings)
            left_over.append(LeftOver(tree.shown(path), why))
            continue
        if settings.keep_split:
            splits[f"{_split_of(shown)} -> {role or 'left over'}"] += 1
            if role is None:
                left_over.append(LeftOver(tree.shown(path), NO_SPLIT))
                continue
        notes[f"{said}: {label}"] += 1
        stem, light = settings.light_of(path.stem)
        key = (path.parent.as_posix(), stem, role, label)
        if light in placed[key]:
            other = tree.shown(placed[key][light])
            left_over.append(LeftOver(tree.shown(path), f"the same part and light as {other}"))
            continue
        placed[key][light] = path
    _check_sides(tree, notes, settings)
    dark = [tree.shown(p[""]) for p in placed.values() if "" in p]
    of_lights = light_told(settings, tree.root, dark, sum(map(len, placed.values())))
    goldens = PartGoldens(tree, golden, settings)
    parts = []
    for (_, stem, role, label), lights in placed.items():
        first = PurePosixPath(tree.shown(next(iter(lights.values()))))
        board = settings.board_of(first.with_suffix("").as_posix()) or ""
        found = {}
        lost = []
        for light, path in lights.items():
            one = goldens.of(PurePosixPath(tree.shown(path)), stem, light, board)
            if one is not None:
                found[light] = [Picture(one)]
            elif golden is not None:  # another's golden is not its own: none is sought
                lost.append(LeftOver(tree.shown(path), goldens.why[tree.shown(path)]))
        if lost:
            left_over += lost
            continue
        parts.append(
            FoundPart(
                name=stem,
                board=board,
                label=label,
                pictures={light: Picture(path) for light, path in lights.items()},
                origin=first.as_posix(),
                goldens=found,
                part_type=_part_type(found, goldens),
                role=role if settings.keep_split else None,
            )
        )
    told = [f"folder {name}, {n} picture(s)" for name, n in sorted(notes.items())]
    told += [f"keep_split: {name}, {n} picture(s)" for name, n in sorted(splits.items())]
    told += of_lights + dates_told({part.label for part in parts})
    return Source(
        "folder", tree.root, parts, left_over, settings.licence or LICENCE,
        told + goldens.notes(),
    )  # fmt: skip


def _meaning(shown: PurePosixPath, settings: FolderSettings) -> tuple[str, str | None, str | None]:
    """Return (label, role, the folder that decided); None: no folder decides.

    The folder nearest to the file that means something decides: its own name in ``labels``, or one
    of ``ok`` and ``ng``; below ``ng`` the next folder names the defect.
    """
    folders = list(shown.parent.parts)
    role = next((SPLITS[f.casefold()] for f in folders if f.casefold() in SPLITS), None)
    ok, ng = folded(settings.ok.strip("/")), folded(settings.ng.strip("/"))
    known = {folded(key.strip()) for key in settings.labels}
    for at in range(len(folders) - 1, -1, -1):
        name = folders[at]
        tail = folded("/".join(folders[: at + 1]))
        if folded(name.strip()) in known:
            return settings.label(name), role, name
        if _ends(tail, ok):
            return PASS, role, name
        if _ends(tail, ng):
            inner = [f for f in folders[at + 1 :] if f.casefold() not in SPLITS]
            defect = inner[0] if inner else DEFECT
            return settings.label(defect), role, "/".join([name, *inner[:1]])
    return "", role, None


def _split_of(shown: PurePosixPath) -> str:
    """Return the folder that names the split, else the highest one."""
    folders = shown.parent.parts
    return next((f for f in folders if f.casefold() in SPLITS), folders[0] if folders else ".")


def _ends(path: str, name: str) -> bool:
    return path == name or path.endswith(f"/{name}")


def _unplaced(settings: FolderSettings) -> str:
    return f"in no folder that is {settings.ok!r}, {settings.ng!r} or in import_folder.labels"


def _check_sides(tree: Tree, notes: Counter[str], settings: FolderSettings) -> None:
    good = sum(n for name, n in notes.items() if name.endswith(f": {PASS}"))
    bad = sum(notes.values()) - good
    if good and bad:
        return
    names = Counter(p for f in tree.pictures() for p in Path(tree.shown(f)).parent.parts)
    shown = ", ".join(f"{name} ({n})" for name, n in names.most_common(FOLDERS_SHOWN))
    where = " in folders that keep_split knows (train, val, test, pool)" * settings.keep_split
    raise HardStop(
        "missing_input",
        f"{good} good and {bad} bad pictures were found{where}; folders with pictures: "
        f"{shown or 'none'}",
        file=tree.root,
        fix=f"name them: {GROUP}.ok (now {settings.ok!r}), {GROUP}.ng (now {settings.ng!r}), or "
        f"{GROUP}.labels: {{folder: PASS or a defect}}",
    )


def _part_type(found: dict[str, list[Picture]], goldens: PartGoldens) -> str:
    if not found:
        return ""
    one = next(iter(found.values()))[0].path
    return one.stem if goldens.shared(one) else ""
