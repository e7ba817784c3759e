"""From settings to what was found: which reader a layout has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from deft.core.errors import HardStop
from deft.importers.folder_settings import GROUP, FolderSettings
from deft.importers.goldens import Search
from deft.importers.goldens import find_goldens as search
from deft.importers.layouts import coco, cvat, folder, mvtec, real_iad, tao, visa, voc, yolo
from deft.importers.parts import FoundPart, Source
from deft.importers.picture_tree import Tree, tree_of
from deft.importers.plan import WithGoldens
from deft.importers.rules import board_told, labels_told

Read = Callable[[Tree, FolderSettings], Source]


def _unpaired(module: object, **of_settings: str) -> Read:
    """Return the reader of a set without goldens; ``of_settings``: argument -> its setting."""
    find: Callable[..., Source] = module.find  # type: ignore[attr-defined]

    def read(tree: Tree, settings: FolderSettings) -> Source:
        more = {name: getattr(settings, key) for name, key in of_settings.items()}
        return find(tree, settings.classes, settings.label, settings.keep_split, **more)

    return read


READERS: dict[str, Read] = {
    "folder": folder.read,
    "voc": voc.read,
    "yolo": yolo.read,
    "coco": coco.read,
    "cvat": cvat.read,
    "tao": tao.read,
    "visa": _unpaired(visa),
    "mvtec": _unpaired(mvtec),
    "real_iad": _unpaired(real_iad, views="views"),
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
    source = READERS[settings.layout](tree_of(settings.root), settings)
    return replace(
        source, notes=source.notes + labels_told(settings) + board_told(settings, source)
    )


def find_goldens(parts: list[FoundPart], settings: FolderSettings) -> WithGoldens:
    """Return the parts with goldens for those that had none: :mod:`deft.importers.goldens`."""
    how = Search(
        share=settings.golden_share, seed=settings.seed or 0, levels=settings.picture_levels
    )
    if settings.min_golden_match is not None:
        how = replace(how, floor=settings.min_golden_match)
    found = search(parts, how)
    match = {pair.part.name: pair.quality for pair in found.pairs}
    return WithGoldens(found.parts, found.left_over, found.notes, match)
