"""An encoder without a network that counts what it is given."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image


class SpyEncoder:
    """Unit vectors by a fixed random projection of a picture's pixels (an encoder of deft)."""

    size_px = (6, 5)

    def __init__(self, name: str = "spy", *, dim: int = 12, batch_size: int = 4) -> None:
        self.name, self.dim, self.batch_size = name, dim, batch_size
        self.digest = hashlib.sha256(f"{name} {dim}".encode()).hexdigest()
        self.prepared: list[str] = []
        self.batches = 0
        height, width = self.size_px
        rng = np.random.default_rng(len(name))
        self.weights = rng.standard_normal((height * width * 3, dim))

    def prepare(self, path: Path) -> np.ndarray:
        """Return uint8 (6, 5, 3)."""
        self.prepared.append(Path(path).name)
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB").resize(self.size_px[::-1]))

    def forward(self, pictures: np.ndarray) -> np.ndarray:
        """Return float32 (batch_size, dim)."""
        assert pictures.shape == (self.batch_size, *self.size_px, 3) and pictures.dtype == np.uint8
        self.batches += 1
        centred = pictures.reshape(len(pictures), -1).astype(np.float64) - 127.5
        found = np.stack([row @ self.weights for row in centred])
        return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def draw_pictures(folder: Path, count: int, *, first: int = 0) -> list[str]:
    """Draw small pictures ``<number>.png``, all different, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(first, first + count):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 7, 3), np.uint8)
        paths.append(str(folder / f"{number:05d}.png"))
        Image.fromarray(pixels).save(paths[-1])
    return paths
