"""From settings to what was found: which reader a layout has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from deft.core.errors import HardStop
from deft.importers.board_goldens import BoardGoldens
from deft.importers.boards import FoundBoards
from deft.importers.boxes import Cutting, cut
from deft.importers.folder_settings import GROUP, FolderSettings, below
from deft.importers.goldens import Search
from deft.importers.goldens import find_goldens as search
from deft.importers.layouts import coco, cvat, folder, mvtec, real_iad, tao, visa, voc, yolo
from deft.importers.parts import FoundPart, Source
from deft.importers.picture_tree import Tree, tree_of
from deft.importers.pixels import Reader
from deft.importers.plan import WithGoldens

Read = Callable[[Tree, FolderSettings], Source]


def _boards(module: object, licence: Callable[[Tree], str]) -> Read:
    """Return the reader of a layout that annotates boards with boxes."""
    find: Callable[[Tree, list[Path]], FoundBoards] = module.find  # type: ignore[attr-defined]

    def read(tree: Tree, settings: FolderSettings) -> Source:
        golden = below(tree.root, settings.golden, "golden") if settings.golden else None
        boards = find(tree, tree.pictures(but=golden))
        how = Cutting(
            window=settings.window,
            free_per_picture=settings.pass_per_image,
            seed=settings.seed or 0,
            label=settings.label,
            board=lambda path: settings.board_of(tree.shown(path.with_suffix(""))),
        )
        parts, left_over, notes = cut(tree, boards.pictures, BoardGoldens(tree, golden), how)
        name = module.__name__.rpartition(".")[2]  # type: ignore[attr-defined]
        left_over = [*boards.left_over, *left_over]
        return Source(name, tree.root, parts, left_over, licence(tree), boards.notes + notes)

    return read


def _tao(tree: Tree, settings: FolderSettings) -> Source:
    def board(path: Path) -> str | None:
        return settings.board_of(tree.shown(path.with_suffix("")))

    found = tao.find(tree, settings.label, board, settings.keep_split)
    return Source("tao", tree.root, found.parts, found.left_over, tao.LICENCE, found.notes)


def _unpaired(module: object, **of_settings: str) -> Read:
    """Return the reader of a set without goldens; ``of_settings``: argument -> its setting."""
    find: Callable[..., Source] = module.find  # type: ignore[attr-defined]

    def read(tree: Tree, settings: FolderSettings) -> Source:
        more = {name: getattr(settings, key) for name, key in of_settings.items()}
        return find(tree, settings.classes, settings.label, settings.keep_split, **more)

    return read


READERS: dict[str, Read] = {
    "folder": folder.read,
    "voc": _boards(voc, lambda tree: voc.LICENCE),
    "yolo": _boards(yolo, lambda tree: getattr(yolo, "LICENCE", folder.LICENCE)),
    "coco": _boards(coco, coco.licence),
    "cvat": _boards(cvat, lambda tree: getattr(cvat, "LICENCE", folder.LICENCE)),
    "tao": _tao,
    "visa": _unpaired(visa),
    "mvtec": _unpaired(mvtec),
    "real_iad": _unpaired(real_iad, views="views"),
}


def read_source(settings: FolderSettings) -> Source:
    """Return what lies below the root; raises HardStop ``config_invalid`` or ``missing_input``."""
    settings.check()
    if not settings.root:
        raise HardStop(
            "config_invalid",
            f"{GROUP}.root is not set",
            fix="name the folder that holds the data set",
        )
    if settings.layout not in READERS:
        raise HardStop(
            "config_invalid",
            f"{GROUP}.layout is {settings.layout!r}",
            fix=f"known: {', '.join(READERS)}",
        )
    return READERS[settings.layout](tree_of(settings.root), settings)


def find_goldens(parts: list[FoundPart], settings: FolderSettings, reader: Reader) -> WithGoldens:
    """Return the parts with goldens for those that had none: :mod:`deft.importers.goldens`."""
    how = Search(share=settings.golden_share, seed=settings.seed or 0)
    if settings.min_golden_match is not None:
        how = replace(how, floor=settings.min_golden_match)
    found = search(parts, how)
    match = {pair.part.name: pair.quality for pair in found.pairs}
    return WithGoldens(found.parts, found.left_over, found.notes, match)
