"""Which samples a person looks at, and their pictures: test and golden side by side."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from deft.core.file_names import slugs
from deft.core.files import replace_atomically
from deft.tables.changenet_table import image_name, is_ng, line_of
from deft.tables.coordinates import rooted_folder
from deft.tables.fingerprint import decode
from deft.tables.goldens import Goldens

FOLDER = "rca_images"
PICTURES_PER_LABEL = 3
SIDE = 5  # weakest good parts, and as many defects whatever their label
GAP_PX = 4  # between test and golden


@dataclass(frozen=True)
class Pictures:
    """Where the KPI pictures lie and which lights each part has.

    ``workspace``: the root that their paths are recorded under, see :mod:`deft.run.roots`.
    """

    root: Path
    lights: list[str]
    ext: str
    levels: int | None = None  # full scale of pictures deeper than 8 bits
    workspace: Path | None = None  # inside which absolute cells must lie
    num_golden: int = 1

    @cached_property
    def _goldens(self) -> Goldens:
        return Goldens(self.root, self.lights, self.ext, self.num_golden)

    def test(self, row: Any, light: str) -> Path:
        """Return the test picture of a row of the KPI table."""
        return self._folder(row, "input_path") / image_name(row["object_name"], light, self.ext)

    def golden(self, row: Any, light: str) -> Path:
        """Return the golden picture of a row of the KPI table that is looked at."""
        folder = self._folder(row, "golden_path")
        return self._goldens.file(str(folder), row["object_name"], light)

    def _folder(self, row: Any, column: str) -> Path:
        line = line_of(row["row"]) if "row" in row else 0
        return rooted_folder(row[column], self.root, self.workspace, None, line)


def spot_checked(ranked: pd.DataFrame) -> pd.DataFrame:
    """Return the weakest good parts and defects, worst first: ``SIDE`` of each, if there are.

    ``ranked``: all rows as :func:`deft.rca.weakness.weak_samples` orders them. It holds the part
    that sets the threshold, however many labels there are.
    """
    worst = ranked.sort_values(["weakness", "row"], ascending=[False, True], kind="stable")
    ng = worst["label"].map(is_ng)
    return pd.concat([worst[~ng].head(SIDE), worst[ng].head(SIDE)])


def save_pictures(
    ranked: pd.DataFrame, spots: pd.DataFrame, pictures: Pictures, folder: Path
) -> dict[int, str]:
    """Save pictures of the spot check and of each label's weakest samples (first light).

    ``ranked``, ``spots``: see :func:`spot_checked`. Returns row -> the picture's path beside the
    report; a picture is named by its label and its place among that label's samples.
    """
    folder.mkdir(parents=True, exist_ok=True)
    named = slugs(sorted(map(str, ranked["label"].unique())))
    light = pictures.lights[0]
    saved = {}
    placed = ranked.assign(rank=ranked.groupby("label", sort=False).cumcount() + 1)
    wanted = (placed["rank"] <= PICTURES_PER_LABEL) | placed["row"].isin(spots["row"])
    for _, row in placed[wanted].iterrows():
        name = f"{named[str(row['label'])]}_{row['rank']:02d}.png"
        _save_pair(row, light, pictures, folder / name)
        saved[int(row["row"])] = f"{FOLDER}/{name}"
    return saved


def example_name(number: int, place: int) -> str:
    """Return the name of a cause's example; both count from 1."""
    return f"cause_{number:02d}_{place}.png"


def save_examples(
    ranked: pd.DataFrame, cause: dict[str, Any], number: int, pictures: Pictures, folder: Path
) -> list[str]:
    """Save the examples of the so-manieth cause, each in the light in which it differs most.

    Returns their paths beside the report.
    """
    found = []
    by_row = ranked.set_index("row", drop=False)
    shown = zip(cause["examples"], cause["example_lights"], strict=True)
    for place, (at, light) in enumerate(shown, start=1):
        name = example_name(number, place)
        _save_pair(by_row.loc[at], light, pictures, folder / name)
        found.append(f"{FOLDER}/{name}")
    return found


def _save_pair(row: Any, light: str, pictures: Pictures, path: Path) -> None:
    test = decode(pictures.test(row, light), pictures.levels)
    golden = decode(pictures.golden(row, light), pictures.levels).resize(test.size)
    pair = Image.new("RGB", (2 * test.width + GAP_PX, test.height), "white")
    pair.paste(test, (0, 0))
    pair.paste(golden, (test.width + GAP_PX, 0))
    replace_atomically(path, pair.save)
