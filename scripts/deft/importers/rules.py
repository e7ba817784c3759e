"""Whether the patterns and names that a user gave match anything: what matches nothing is a slip.

One that matches nothing at all stops the import; where it matches a part, that is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from deft.core.errors import HardStop
from deft.importers.folder_settings import GROUP, FolderSettings, folded
from deft.importers.parts import Source
from deft.tables.changenet_table import PASS

SHOWN, NAMES_SHOWN = 3, 12
DATE = re.compile(r"\d{4}([-_.]?)\d{2}\1\d{2}|\d{1,2}[-_.]\d{1,2}[-_.](\d{2}|\d{4})")
READ_BOARDS = ("folder", "voc", "yolo", "coco", "cvat", "tao")  # layouts that ask for the board


def light_told(
    settings: FolderSettings, root: Path, missed: Sequence[str], total: int
) -> list[str]:
    """Return what to tell of the pictures (``missed``) in whose names ``light`` finds nothing.

    Raises HardStop ``config_invalid`` where these are all of them.
    """
    if settings.light is None:
        return []
    return _told(settings.light, "light", root, missed, total, "they have no light of their own")


def board_told(settings: FolderSettings, source: Source) -> list[str]:
    """Return what to tell of the parts in whose paths ``board`` finds nothing.

    Raises HardStop ``config_invalid`` where these are all of them.
    """
    if settings.board is None or source.layout not in READ_BOARDS:
        return []
    # The first light decides for all; windows of one picture ask once.
    first = dict.fromkeys(next(iter(part.pictures.values())).path for part in source.parts)
    shown = [path.with_suffix("").relative_to(source.root).as_posix() for path in first]
    missed = [path for path in shown if not settings.board_of(path)]
    alone = "each stands alone" if source.layout == "folder" else "the layout says their boards"
    return _told(settings.board, "board", source.root, missed, len(shown), alone)


def _told(
    pattern: str, key: str, root: Path, missed: Sequence[str], total: int, effect: str
) -> list[str]:
    if not missed:
        return []
    # Spread over all of them: neighbours look alike.
    examples = ", ".join(missed[len(missed) * i // SHOWN] for i in range(min(SHOWN, len(missed))))
    if len(missed) == total:
        raise HardStop(
            "config_invalid",
            f"{GROUP}.{key} {pattern!r} finds nothing in any of {total} pictures, e.g. {examples}",
            file=root,
            fix=f"mend the pattern so that its bracket finds the {key} in such names, or leave "
            f"{key} out",
        )
    return [
        f"{key} {pattern!r} finds nothing in {len(missed)} of {total} pictures, e.g. {examples}: "
        f"{effect}"
    ]


def labels_told(settings: FolderSettings) -> list[str]:
    """Return what to tell of keys of ``labels`` that no folder or class has.

    Raises HardStop ``config_invalid`` where other names stand for themselves: one may be the key's.
    """
    met = {folded(name) for name in settings.asked}
    missed = [key for key in settings.labels if folded(key.strip()) not in met]
    if not missed:
        return []
    keys = {folded(key.strip()) for key in settings.labels} | {folded(PASS)}
    unnamed = sorted(name for name in settings.asked if folded(name) not in keys)
    told = ", ".join(map(repr, missed))
    if not unnamed:
        return [f"labels: no folder or class here is called {told}"]
    more = f" and {len(unnamed) - NAMES_SHOWN} more" if len(unnamed) > NAMES_SHOWN else ""
    raise HardStop(
        "config_invalid",
        f"{GROUP}.labels: no folder or class here is called {told}; those that no key names: "
        f"{', '.join(map(repr, unnamed[:NAMES_SHOWN]))}{more}",
        fix="spell the key as the folder or class is called, or take it out of labels",
    )


def dates_told(labels: Iterable[str]) -> list[str]:
    """Return a hint where folders below ``ng`` are days, and the defects lie below these."""
    days = sorted(label for label in labels if DATE.fullmatch(label))
    if not days:
        return []
    return [
        f"these defects look like dates: {', '.join(days[:NAMES_SHOWN])}; where the folders below "
        f"them name the defects, say so: {GROUP}.labels: {{folder: defect}}"
    ]
