"""The map of the embeddings for the page: points, their pictures as far as room is, and links."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import Image

from deft.record.embedding_map import MINED, POOL, WEAK, embedding_map
from deft.record.run_files import RunFiles
from deft.tables.pictures import PictureError, open_rgb

BUDGET_BYTES = 200_000  # of all pictures here, as base64
EDGE_PX, QUALITY = 56, 60
KINDS = (POOL, MINED, WEAK)  # drawn in this order: the weak ones lie on top


def map_view(files: RunFiles) -> dict[str, Any] | None:
    """Return points as ``[x, y, kind, label, folder, name, picture]`` with their tables, or None.

    x and y run from 0 to 1. Pictures go to the weak points first, then to mined ones.
    """
    found = embedding_map(files)
    if found is None or found.points.empty:
        return None
    table = found.points
    places = table[["x", "y"]].to_numpy()
    span = np.ptp(places, axis=0)
    places = (places - places.min(axis=0)) / np.where(span > 0, span, 1)
    folders: dict[str, int] = {}
    labels: dict[str, int] = {}
    points: list[list[Any]] = []
    for (x, y), kind, path, label in zip(
        places, table["kind"], table["filepath"], table["label"], strict=True
    ):
        folder = quote(os.path.relpath(os.path.dirname(str(path)) or ".", files.run.dir))
        points.append(
            [
                round(float(x), 4), round(float(y), 4), KINDS.index(kind),
                labels.setdefault(str(label), len(labels)),
                folders.setdefault(folder, len(folders)), os.path.basename(str(path)), None,
            ]
        )  # fmt: skip
    _pictures(points, [str(p) for p in table["filepath"]], files)
    return {"kinds": KINDS, "labels": list(labels), "folders": list(folders), "points": points}


def _pictures(points: list[list[Any]], paths: list[str], files: RunFiles) -> None:
    left = BUDGET_BYTES
    for i in sorted(range(len(points)), key=lambda i: -points[i][2]):
        try:
            small = open_rgb(Path(paths[i]), files.picture_levels, draft_px=2 * EDGE_PX)
        except PictureError:
            continue
        small.thumbnail((EDGE_PX, EDGE_PX), Image.Resampling.BILINEAR)
        buffer = io.BytesIO()
        small.save(buffer, "WEBP", quality=QUALITY, method=2)
        text = base64.b64encode(buffer.getvalue()).decode("ascii")
        left -= len(text)
        if left < 0:
            return
        points[i][6] = text
