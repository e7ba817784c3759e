"""Where a table's pictures lie: beside the pool's table, or under the root that all share."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from deft.core import layout
from deft.tables.coordinates import pool_rows
from deft.tables.picture_roots import doubtful, other_root, roots_of


def picture(path: Path, content: str = "x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def placed(workspace: Path, input_path: str, golden_path: str = "golden") -> tuple[str, str]:
    """Return where a pool row of the part C1 lies, relative to the workspace."""
    cells = {"input_path": [input_path], "golden_path": [golden_path], "object_name": ["C1"]}
    row = pool_rows(pd.DataFrame({**cells, "label": ["PASS"]}), workspace).iloc[0]
    return row["input_path"], row["golden_path"]


@pytest.mark.parametrize(
    ("lies", "cell", "wanted"),
    [
        # The contract's layout: beside the pool's table.
        ("augmentation/mining_pool/images/C1_L.jpg", "images/C1_L.jpg", None),
        ("augmentation/mining_pool/images/b/C1_L.jpg", "images/b", None),
        # NVIDIA's: every picture under images/, written with or without that word.
        ("images/b/C1_L.jpg", "images/b/C1_L.jpg", "images/b"),
        ("images/b/C1_L.jpg", "b/C1_L.jpg", "images/b"),
        ("images/b/C1_L.jpg", "./images/b", "images/b"),
        ("images/b/C1_L.jpg", "b", "images/b"),
        ("images/C1_L.jpg", "images/C1_L.jpg", "images"),
        ("images/b/C1_Solder_Light.jpg", "b", "images/b"),
        # Its older one, with the same cells.
        ("kpi/images/b/C1_L.jpg", "b/C1_L.jpg", "kpi/images/b"),
    ],
)
def test_a_pool_picture_is_found_where_it_lies(tmp_path, lies, cell, wanted):
    picture(tmp_path / lies)
    assert placed(tmp_path, cell)[0] == (wanted or Path(lies).parent.as_posix())


@pytest.mark.parametrize("cell", ["images/b", "images/b/C1_L.jpg"])
def test_the_pools_own_folder_comes_first_and_decides_row_by_row(tmp_path, cell):
    picture(tmp_path / "images/b/C1_L.jpg", "another part of the same name")
    own = tmp_path / "augmentation/mining_pool/images/b"
    picture(own / "C1_L.jpg")
    assert placed(tmp_path, cell)[0] == "augmentation/mining_pool/images/b"
    (own / "C1_L.jpg").rename(own / "C2_L.jpg")  # the folder is there, the picture is not
    assert placed(tmp_path, cell)[0] == "images/b"
    (tmp_path / "images/b/C1_L.jpg").unlink()  # nowhere: the pre-flight names the first place
    assert placed(tmp_path, cell)[0] == "augmentation/mining_pool/images/b"


def test_a_pool_golden_lies_under_the_shared_root_or_beside_the_pool(tmp_path):
    picture(tmp_path / "augmentation/mining_pool/golden/C1_L.jpg")
    assert placed(tmp_path, "b")[1] == "augmentation/mining_pool/golden"
    picture(tmp_path / "images/golden/C1_L.jpg")
    assert placed(tmp_path, "b")[1] == "images/golden"


def test_a_cell_that_climbs_is_left_to_the_check_of_cells(tmp_path):
    picture(tmp_path.parent / "elsewhere/C1_L.jpg")
    assert placed(tmp_path, "../../../elsewhere")[0].startswith("augmentation/mining_pool/..")


def test_the_rows_are_counted_by_their_root():
    folders = ["images/b", "augmentation/mining_pool/images", "images", "images_of_old/b"]
    assert roots_of(pd.DataFrame({"input_path": folders})) == {
        "images": 2,
        "augmentation/mining_pool": 1,
        ".": 1,
    }


def test_an_empty_kpi_images_gives_way_to_images(tmp_path):
    (tmp_path / "kpi/images").mkdir(parents=True)
    assert layout.image_root(tmp_path) == tmp_path / "kpi/images"
    picture(tmp_path / "images/b/C1_L.jpg")
    assert layout.image_root(tmp_path) == tmp_path / "images"
    picture(tmp_path / "kpi/images/b/C1_L.jpg")
    assert layout.image_root(tmp_path) == tmp_path / "kpi/images"


def test_a_link_to_the_other_root_is_no_second_root(tmp_path):
    picture(tmp_path / "images/b/C1_L.jpg")
    (tmp_path / "kpi").mkdir()
    (tmp_path / "kpi/images").symlink_to("../images")
    assert other_root(tmp_path) is None


def test_doubtful_rows_are_named_by_line(tmp_path):
    one, other = tmp_path / "kpi/images", tmp_path / "images"
    for root, folder, text in (
        *((root, "g", "golden") for root in (one, other)),
        *((root, "same", "x") for root in (one, other)),
        (one, "unlike", "x"),
        (other, "unlike", "y"),
        (other, "only", "x"),
    ):
        picture(root / folder / "C1_L.jpg", text)
    assert other_root(tmp_path) == other
    rows = pd.DataFrame({"input_path": ["same", "unlike", "only", "nowhere"]})
    rows = rows.assign(golden_path="g", object_name="C1")
    assert doubtful(rows, one, other) == ([4], [3])
