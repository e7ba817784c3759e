"""Files that Supervision, Datumaro and Label Studio's converter wrote of four drawn boards.

``exports/<tool>.json`` holds, for each format, the text files as the tool wrote them and the names
of the pictures beside them, which are drawn again here (``board_sets.shots(1, 1, 1)``). The tool
decides what its format looks like, not this project.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import board_sets as sets
import pytest

from deft.importers.layouts import coco, cvat, voc, yolo
from deft.importers.picture_tree import original, tree_of

LAYOUTS = {"voc": voc, "yolo": yolo, "coco": coco, "cvat": cvat}
SHOTS = {shot.name: shot for shot in sets.shots(boards=1, each=1, good=1)}
EXPORTS = {
    f"{path.stem} {name}": export
    for path in sorted((Path(__file__).parent / "exports").glob("*.json"))
    for name, export in json.loads(path.read_text())["exports"].items()
}
VOC_FROM_ONE = 1.0  # px: Pascal VOC counts from 1, not every tool does
ROUNDED = 0.01  # px, of shares of a picture's size
WITHOUT_FILES_FOR_GOOD = {"label-studio-sdk voc"}  # nor a list of the pictures


@pytest.mark.parametrize("name", sorted(EXPORTS))
def test_what_a_tool_exported_is_what_was_drawn(name, tmp_path) -> None:
    export = EXPORTS[name]
    for path, content in export["files"].items():
        sets.text(tmp_path / path, content)
    for path in export["pictures"]:
        sets.save(tmp_path / path, SHOTS[original(Path(path).stem)].pixels)
    tree = tree_of(tmp_path)
    found = LAYOUTS[export["layout"]].find(tree, tree.pictures())
    read = {original(board.path.stem): board for board in found.pictures}
    wanted = dict(SHOTS)
    if name in WITHOUT_FILES_FOR_GOOD:
        assert [e.why for e in found.left_over if "without annotations" in e.why]
        wanted = {key: shot for key, shot in SHOTS.items() if shot.boxes}
    else:
        assert not found.left_over
    assert read.keys() == wanted.keys()
    within = VOC_FROM_ONE if export["layout"] == "voc" else ROUNDED
    for key, board in read.items():
        assert Counter(m.name for m in board.marks) == Counter(b[4] for b in SHOTS[key].boxes)
        marks = sorted((m.x1, m.y1, m.x2, m.y2) for m in board.marks)
        for mark, box in zip(marks, sorted(box[:4] for box in SHOTS[key].boxes), strict=True):
            assert all(abs(a - b) <= within for a, b in zip(mark, box, strict=True))
        assert board.size in (None, sets.SIZE)


def test_every_layout_has_an_export_of_a_tool() -> None:
    assert {export["layout"] for export in EXPORTS.values()} == LAYOUTS.keys()
    assert len(EXPORTS) == 13
