"""Drawn parts in folders, as people have them: OK, NG with a folder per defect, goldens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIDE_PX = 64
DEFECTS = ("short", "Missing Part")


def good(number: int) -> np.ndarray:
    """Return a part's golden, uint8 (SIDE_PX, SIDE_PX, 3)."""
    rng = np.random.default_rng(number)
    pixels = rng.integers(90, 120, (SIDE_PX, SIDE_PX, 3)).astype(np.uint8)
    pixels[20:44, 20:44] = 200
    return pixels


def shot(number: int, defect: str | None = None) -> np.ndarray:
    """Return the part's test picture: noise, and a dark or light square where it has a defect."""
    rng = np.random.default_rng([number, 1])
    pixels = np.clip(good(number) + rng.integers(-3, 4, (SIDE_PX, SIDE_PX, 3)), 0, 255)
    x, y = (int(v) for v in rng.integers(5, 50, 2))
    if defect is not None:
        pixels[y : y + 9, x : x + 9] = 0 if defect == DEFECTS[0] else 255
    return pixels.astype(np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    """Write a picture, with the folders that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def draw(root: Path, rows: int = 60, ext: str = ".png", per_board: int = 4) -> Path:
    """Write ``OK/``, ``NG/<defect>/`` and ``golden/`` by equal name; every third part is bad."""
    for i in range(rows):
        defect = DEFECTS[i // 3 % 2] if i % 3 == 0 else None
        name = f"B{i // per_board:02d}_{i}{ext}"
        save(root / (f"NG/{defect}" if defect else "OK") / name, shot(i, defect))
        save(root / "golden" / name, good(i))
    return root
