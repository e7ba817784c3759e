"""From settings to what was found: which reader a layout has."""

from __future__ import annotations

from collections.abc import Callable

from deft.core.errors import HardStop
from deft.importers.folder_settings import GROUP, FolderSettings
from deft.importers.layouts import coco, cvat, folder, tao, voc, yolo
from deft.importers.parts import Source
from deft.importers.picture_tree import Tree, tree_of
from deft.importers.plan import FindGoldens

Read = Callable[[Tree, FolderSettings], Source]


READERS: dict[str, Read] = {
    "folder": folder.read,
    "voc": voc.read,
    "yolo": yolo.read,
    "coco": coco.read,
    "cvat": cvat.read,
    "tao": tao.read,
}


def read_source(settings: FolderSettings) -> Source:
    """Return what lies below the root; raises HardStop ``config_invalid`` or ``missing_input``."""
    settings.check()
    if settings.layout not in READERS:
        raise HardStop(
            "config_invalid",
            f"{GROUP}.layout is {settings.layout!r}",
            fix=f"known: {', '.join(READERS)}",
        )
    return READERS[settings.layout](tree_of(settings.root), settings)


# Looks for goldens of sets that have none; None until there is such a search.
find_goldens: FindGoldens | None = None
