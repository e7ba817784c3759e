"""Pictures in folders: good ones, defective ones (with a folder per defect or not), goldens.

``OK/…``, ``NG/<defect>/…`` and ``golden/…`` below the root, by any names. Folders of a split may
stand above them (``train/OK``, ``test/NG/short``) or between. A picture's golden is the one at the
same path below the goldens' folder, of the same name, named as the folder of the picture, or as its
board; else the only one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from deft.core.errors import HardStop
from deft.importers.folder_settings import GROUP, SKIP, FolderSettings, below, folded
from deft.importers.parts import FoundPart, LeftOver, Picture, Source
from deft.importers.picture_tree import Tree, golden_pictures
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
    goldens = _Goldens(tree, golden, settings)
    parts = []
    for (_, stem, role, label), lights in placed.items():
        first = PurePosixPath(tree.shown(next(iter(lights.values()))))
        board = settings.board_of(first.with_suffix("").as_posix()) or ""
        found = {}
        for light, path in lights.items():
            one = goldens.of(PurePosixPath(tree.shown(path)), stem, light, board)
            if one is not None:
                found[light] = [Picture(one)]
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
    parts, more = _without_golden(parts, golden)
    return Source(
        "folder", tree.root, parts, left_over + more, settings.licence or LICENCE,
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


def _without_golden(
    parts: list[FoundPart], golden: Path | None
) -> tuple[list[FoundPart], list[LeftOver]]:
    """Leave parts without a golden over where the set has goldens: another's is not theirs."""
    if golden is None:
        return parts, []
    kept = [part for part in parts if part.goldens]
    lost = [part for part in parts if not part.goldens]
    return kept, [LeftOver(part.origin, f"no golden of it below {golden.name}") for part in lost]


def _part_type(found: dict[str, list[Picture]], goldens: _Goldens) -> str:
    if not found:
        return ""
    one = next(iter(found.values()))[0].path
    return one.stem if goldens.shared(one) else ""


@dataclass
class _Goldens:
    """Finds a picture's golden. Which way was taken is counted."""

    tree: Tree
    folder: Path | None
    settings: FolderSettings
    how: Counter[str] = field(default_factory=Counter)
    uses: Counter[Path] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.files = golden_pictures(self.tree, self.folder)
        self.by_place: dict[str, list[Path]] = defaultdict(list)
        self.by_name: dict[tuple[str, str], list[Path]] = defaultdict(list)
        for path in self.files:
            stem, light = self.settings.light_of(path.stem)
            self.by_name[folded(stem), light].append(path)
            if self.folder is not None and self.folder != path:
                place = path.relative_to(self.folder).with_suffix("").as_posix()
                self.by_place[folded(place)].append(path)

    def of(self, shown: PurePosixPath, stem: str, light: str, board: str) -> Path | None:
        """Return the golden of a picture, None where none or several would do."""
        inner = shown.with_suffix("").parts
        tries: list[tuple[str, list[Path]]] = []
        if self.folder not in self.files:  # else the setting names this one picture
            for at in range(len(inner) - 1):  # the longest path first
                tries.append(("path", self.by_place.get(folded("/".join(inner[at:])), [])))
            for name, how in ((stem, "name"), (shown.parent.name, "folder"), (board, "board")):
                if name:
                    tries.append((how, self._named(name, light)))
        tries.append(("being the only one", self.files if len(self.files) == 1 else []))
        for how, found in tries:
            if len(found) == 1:
                self.how[how] += 1
                self.uses[found[0]] += 1
                return found[0]
            if len(found) > 1:
                return None
        return None

    def _named(self, name: str, light: str) -> list[Path]:
        own = self.by_name.get((folded(name), light), [])
        return own or self.by_name.get((folded(name), ""), [])

    def shared(self, path: Path) -> bool:
        """Return whether several pictures have this golden."""
        return self.uses[path] > 1

    def notes(self) -> list[str]:
        """Return how goldens were found, in words."""
        if not self.files:
            return []
        told = ", ".join(f"{how} {count}" for how, count in sorted(self.how.items()))
        return [f"{len(self.files)} golden(s); found by {told or 'nothing'}"]
