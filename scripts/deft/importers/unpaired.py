"""What the readers of unpaired anomaly sets share: objects, published splits, licences.

Such a set has folders of objects, each with good and defective pictures and no goldens. The
published splits of most have no defect in training, which this loop cannot learn from: unless the
user asks for them, the loop's own split decides.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deft.core.errors import HardStop
from deft.importers.parts import FoundPart, LeftOver
from deft.importers.picture_tree import Tree

GOOD = ("good", "ok", "normal")  # what the sets call it, small letters
# A published split, as its folder or table calls it -> the role of its parts when it is kept.
KEPT_AS = {"train": "base", "validation": "validation", "val": "validation", "test": "kpi"}
SHOWN = 12
TO_CLASSES = "name what is wanted in import_folder.classes"
NON_COMMERCIAL = (
    "CC BY-NC-SA 4.0: not for commercial use. A model that was trained on it must not inspect "
    "parts in production"
)


@dataclass(frozen=True)
class Licence:
    """What is known of a set's licence: a sentence, and whether it forbids commercial use."""

    text: str
    non_commercial: bool = False

    def notes(self) -> list[str]:
        """Return the warning that a licence asks for."""
        return [f"LICENCE: {self.text}"] if self.non_commercial else []


def chosen(tree: Tree, folders: Iterable[Path], classes: Sequence[str]) -> dict[Path, str]:
    """Return folder -> object for the objects that the user wants.

    Parameters
    ----------
    folders: every folder of an object. An archive that was unpacked into a folder of its name has
        ``pcb1/pcb1``: the last name counts.
    classes: objects by name, or by the end of their folder's path (``2cls_highshot/pcb1``); empty
        = all.

    Raises
    ------
    HardStop ``missing_input`` (no object at all) or ``config_invalid`` (a name that no object has,
    or an object that lies there twice: its pictures would be in two roles).
    """
    found = sorted(set(folders))
    if not found:
        raise HardStop(
            "missing_input",
            "no object of this layout lies below the folder",
            file=tree.root,
            fix="set import_folder.root and import_folder.layout to what was unpacked",
        )
    names = {folder: folder.name for folder in found}
    if classes:
        names = {f: n for f, n in names.items() if any(_meant(f, wish) for wish in classes)}
        for wish in classes:
            if not any(_meant(folder, wish) for folder in found):
                known = sorted({folder.name for folder in found})
                more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
                raise HardStop(
                    "config_invalid",
                    f"import_folder.classes names {wish!r}; found {', '.join(known[:SHOWN])}{more}",
                    file=tree.root,
                    fix="name objects as their folders are called",
                )
    seen: dict[str, Path] = {}
    for folder, name in names.items():
        other = seen.setdefault(name.casefold(), folder)
        if other != folder:
            raise HardStop(
                "config_invalid",
                f"the object {name} lies there twice: {tree.shown(other)} and {tree.shown(folder)}",
                file=tree.root,
                fix=f"set import_folder.root to one of the copies, or {TO_CLASSES}, with its "
                f"folder: {'/'.join(folder.parts[-2:])}",
            )
    return names


def _meant(folder: Path, wish: str) -> bool:
    wanted = [part.casefold() for part in re.split(r"[\\/]+", wish.strip()) if part]
    own = [part.casefold() for part in folder.parts]
    return bool(wanted) and own[-len(wanted) :] == wanted


def check_kept(parts: Sequence[FoundPart], root: Path, what: str) -> None:
    """Raise HardStop ``config_invalid`` where a kept split leaves a role without good or bad."""
    for role, why in (("base", "training"), ("kpi", "the KPI set")):
        found = Counter(part.good for part in parts if part.role == role)
        if not found[True] or not found[False]:
            raise HardStop(
                "config_invalid",
                f"{what} gives {why} {found[True]} good and {found[False]} defective part(s): the "
                "loop needs both in either",
                file=root,
                fix="set import_folder.keep_split: false, and the loop splits by part",
            )


def without_skipped(parts: Sequence[FoundPart]) -> tuple[list[FoundPart], list[LeftOver]]:
    """Return the parts that the label map names, and those that it leaves out (label "")."""
    skipped = Counter(
        (part.part_type, "left out by the label map") for part in parts if not part.label
    )
    return [part for part in parts if part.label], grouped(skipped)


def grouped(counts: Counter[tuple[str, str]]) -> list[LeftOver]:
    """Return one entry for each folder and reason, with the number of pictures."""
    return [
        LeftOver(folder, f"{count} picture(s): {why}")
        for (folder, why), count in sorted(counts.items())
    ]


def told(parts: Sequence[FoundPart]) -> str:
    """Return how many parts of each label an object has, in words."""
    counts = Counter(part.label for part in parts)
    return ", ".join(f"{label} {count}" for label, count in sorted(counts.items()))
