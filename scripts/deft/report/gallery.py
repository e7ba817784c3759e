"""The failures to look at: golden, test and difference side by side, with what each lap decided."""

from __future__ import annotations

import base64
import io
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np
from PIL import Image

from deft.core import layout
from deft.core.errors import HardStop
from deft.record.failures import Failures, failures_of, text_of
from deft.record.judged import goldens_of, lights_and_ext
from deft.record.run_files import RunFiles
from deft.report.difference import difference
from deft.tables.changenet_table import image_name, is_ng, line_of
from deft.tables.coordinates import rooted_folder
from deft.tables.goldens import Goldens
from deft.tables.pictures import PictureError, open_rgb

logger = logging.getLogger(__name__)

BUDGET_BYTES = 1_000_000  # of all pictures here, as base64
LARGE_SET = 20_000  # KPI parts from which on the page may be larger
LARGE_BUDGET_BYTES = 4_000_000
EDGES_PX = (144, 112, 88, 64)  # the largest with which all fit
TRIED = 8
QUALITY = 68


def gallery_view(files: RunFiles, results: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the failures of the best phase and of each lap with their pictures, or None."""
    lights, _ = lights_and_ext(files)
    thresholds = {p.name: results.get(f"{p.name}.set_threshold") for p in files.phases}
    found = failures_of(files, thresholds, len(lights))
    if found is None or not found.shown:
        return None
    goldens = goldens_of(files)
    items = [_item(files, found, row, light, goldens) for row in found.shown for light in lights]
    large = len(found.table) > LARGE_SET
    left_out = _draw(items, files, LARGE_BUDGET_BYTES if large else BUDGET_BYTES)
    return {
        "left_out": left_out,
        "all": found.failing <= len(found.shown),
        "data": {
            "phases": [
                {"name": p.name, "threshold": t, "best": p is files.best}
                for p, t in zip(found.phases, found.thresholds, strict=True)
            ],
            "items": [{k: v for k, v in i.items() if not k.startswith("_")} for i in items],
        },
    }


def _item(
    files: RunFiles, found: Failures, row: int, light: str, goldens: Goldens
) -> dict[str, Any]:
    cells = found.table.iloc[row]
    folder, golden_folder = (_folder(files, cells, c) for c in ("input_path", "golden_path"))
    name = str(cells["object_name"])
    test = folder / image_name(name, light, goldens.ext) if folder else None
    golden = goldens.file(str(golden_folder), name, light) if golden_folder else None
    scores = [found.scores[p.name].iloc[row] for p in found.phases]
    return {
        "line": line_of(found.table.index[row]),
        "object": str(cells["object_name"]),
        "label": str(cells["label"]),
        "ng": is_ng(str(cells["label"])),
        "part": text_of(cells, "part_type", "comp_type_1"),
        "board": text_of(cells, "boardname", "input_path"),
        "place": text_of(cells, "comp_name"),
        "light": light,
        "scores": [None if np.isnan(s) else float(s) for s in scores],
        "test": _link(test, files),
        "golden": _link(golden, files),
        "picture": None,
        "_test": test,
        "_golden": golden,
    }


def _folder(files: RunFiles, cells: Any, column: str) -> Path | None:
    """Return the folder of a part's picture, None where the cell leads outside."""
    cell = str(cells.get(column) or "")
    try:
        return rooted_folder(cell, layout.image_root(files.workspace), files.workspace, None, 0)
    except HardStop:
        return None


def _link(path: Path | None, files: RunFiles) -> str | None:
    """Return the address of a picture as the page names it: relative, so that a move keeps it."""
    return quote(os.path.relpath(path, files.run.dir)) if path is not None else None


def _draw(items: list[dict[str, Any]], files: RunFiles, budget: int) -> int:
    """Give each item its picture while the budget lasts; return how many got none for it."""
    edge, tried = EDGES_PX[-1], items[:: max(1, len(items) // TRIED)]
    for edge in EDGES_PX:
        sizes = [len(made) for item in tried if (made := _strip(item, files, edge))]
        if not sizes or sum(sizes) / len(sizes) * len(items) <= budget:
            break
    left_out = 0
    for item in items:
        made = _strip(item, files, edge)
        if made is not None and len(made) > budget:
            made, left_out = None, left_out + 1
        budget -= len(made or "")
        item["picture"] = made
    return left_out


def _strip(item: dict[str, Any], files: RunFiles, edge: int) -> str | None:
    """Return golden, test and difference in a row, as a ``data:`` address; None without a test."""
    test, golden = (_read(item[key], files, edge) for key in ("_test", "_golden"))
    if test is None:
        return None
    panels = [golden if golden is not None else np.full_like(test, 128), test]
    if golden is not None:
        found = difference(test, golden)
        panels = [golden, found.test, found.picture]
        item["at"] = [round(share, 3) for share in found.place]
    height = min(edge, max(p.shape[0] for p in panels))
    row = [_fitted(panel, height) for panel in panels]
    gap = np.full((height, 2, 3), 128, np.uint8)
    strip = np.concatenate([piece for panel in row for piece in (panel, gap)][:-1], axis=1)
    buffer = io.BytesIO()
    Image.fromarray(strip).save(buffer, "WEBP", quality=QUALITY, method=2)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _fitted(panel: np.ndarray, height: int) -> np.ndarray:
    width = max(1, round(panel.shape[1] * height / panel.shape[0]))
    return np.asarray(cv2.resize(panel, (width, height), interpolation=cv2.INTER_AREA))


def _read(path: Path | None, files: RunFiles, edge: int) -> np.ndarray | None:
    if path is None:
        return None
    try:
        return np.asarray(open_rgb(path, files.picture_levels, draft_px=2 * edge))
    except PictureError as error:
        logger.info("left out the picture %s", error)  # the card says so; there may be hundreds
        return None
