"""Pascal VOC: one XML file for each picture (labelImg, CVAT, Roboflow; HRIPCB, PKU-Market-PCB).

The picture of an XML file is the one of its name, wherever below the root it lies; ``<filename>``
counts only where there is none, since copied files keep a stale one, and ``<path>`` never.
A picture without a file is left over: whether it is good or nobody looked at it, nobody knows. One
whose file has no ``<object>`` is good, and one that ``ImageSets/Main`` lists (CVAT and Datumaro
write no file for it).
"""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element

from deft.core.errors import HardStop
from deft.core.reading import lines_of, read_text
from deft.importers.boards import Found, FoundBoards, read_boards, unannotated
from deft.importers.boxes import Mark, MarkedPicture
from deft.importers.folder_settings import FolderSettings
from deft.importers.parts import LeftOver, Source
from deft.importers.picture_tree import Names, Tree
from deft.importers.xml_files import number, read_xml, words

LICENCE = (
    "Pascal VOC annotations carry no licence. HRIPCB / PKU-Market-PCB: its makers state none that "
    "travels with the copies; settle it before a model trained on it is deployed."
)


def read(tree: Tree, settings: FolderSettings) -> Source:
    """Return the parts of a data set in Pascal VOC; raises HardStop for broken files."""
    return read_boards(tree, settings, "voc", find, lambda tree: LICENCE)


def find(tree: Tree, pictures: list[Path]) -> FoundBoards:
    """Return the annotated pictures among ``pictures``; raises HardStop for broken files."""
    found, names = Found(tree), Names(pictures)
    stale = 0
    for path in tree.ending([".xml"]):
        top = read_xml(path)
        if top.tag != "annotation":
            other = ": import_folder.layout cvat reads it" if top.tag == "annotations" else ""
            found.left_over.append(LeftOver(tree.shown(path), f"XML of another kind{other}"))
            continue
        told = words(top, "filename")
        own = names.named(path.stem, path)
        picture = found.only(own or (names.named(told, path) if told else []), path, path.stem)
        if picture is None:
            continue
        stale += bool(told) and Path(told).stem.casefold() != picture.stem.casefold()
        board = MarkedPicture(picture, tree.shown(path), _marks(top, path), _size(top, path))
        found.add(board)
    listed = _listed(tree, names, found)
    for picture, text in listed.items():
        found.add(MarkedPicture(picture, tree.shown(text)))
    if listed:
        found.notes.append(
            f"{len(listed)} picture(s) are good: ImageSets lists them without a file"
        )
    if stale:
        found.notes.append(f"{stale} file(s) name another picture in <filename>: not followed")
    return found.boards(unannotated(tree, pictures, found.taken))


def _listed(tree: Tree, names: Names, found: Found) -> dict[Path, Path]:
    """Return the pictures without a file that ``ImageSets/Main/*.txt`` lists, and where."""
    out: dict[Path, Path] = {}
    for text in tree.ending([".txt"]):
        if [part.lower() for part in text.parent.parts[-2:]] != ["imagesets", "main"]:
            continue
        for line in lines_of(read_text(text, code="csv_invalid")):
            cells = line.split()
            own = names.named(cells[0], text) if cells else []
            if len(own) == 1 and own[0] not in found.taken:
                out.setdefault(own[0], text)
    return out


def _size(top: Element, path: Path) -> tuple[int, int] | None:
    size = top.find("size")
    if size is None:
        return None
    width, height = (
        number(words(size, name) or "0", f"<{name}>", path) for name in ("width", "height")
    )
    return int(width), int(height)


def _marks(top: Element, path: Path) -> list[Mark]:
    marks = []
    for index, thing in enumerate(top.findall("object"), start=1):
        where = f"object {index}"
        xs, ys = _corners(thing, where, path)
        name = words(thing, "name") or None
        marks.append(Mark(min(xs), min(ys), max(xs), max(ys), name, where))
    return marks


def _corners(thing: Element, where: str, path: Path) -> tuple[list[float], list[float]]:
    box = thing.find("bndbox")
    if box is not None:
        return (
            [number(words(box, n), f"{where}: <{n}>", path) for n in ("xmin", "xmax")],
            [number(words(box, n), f"{where}: <{n}>", path) for n in ("ymin", "ymax")],
        )
    polygon = thing.find("polygon")
    points = [] if polygon is None else list(polygon)
    xs = [number(p.text, f"{where}: <{p.tag}>", path) for p in points if p.tag.startswith("x")]
    ys = [number(p.text, f"{where}: <{p.tag}>", path) for p in points if p.tag.startswith("y")]
    if not xs or not ys:
        raise HardStop(
            "csv_invalid",
            f"{where} has neither <bndbox> nor <polygon>",
            file=path,
            fix="export the annotations as Pascal VOC with boxes",
        )
    return xs, ys
