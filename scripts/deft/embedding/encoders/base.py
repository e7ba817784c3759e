"""What the embedding and mining stages ask of an encoder, and what all encoders share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

CODE_VERSION = 3  # raise when the same weights and pictures would give other vectors
PRECISIONS = ("float32", "bfloat16")
RUNTIMES = ("torch", "onnx")


@runtime_checkable
class Encoder(Protocol):
    """One picture to one vector.

    A vector depends on its picture alone: every forward pass has ``batch_size`` pictures, and the
    caller pads the last one. Equal digests mean comparable vectors.
    """

    name: str
    """As in the config: siglip, siglip2, clip, dinov2, dinov3, c_radio, changenet."""
    dim: int
    """Length of a vector."""
    digest: str
    """SHA-256 (hex) of weights, preprocessing, code version, precision and runtime."""
    batch_size: int
    """Pictures of every forward pass, exactly."""
    size_px: tuple[int, int]
    """(height, width) of a prepared picture."""

    def prepare(self, path: Path) -> np.ndarray:
        """Return uint8 (h, w, 3), RGB: decoded, resized and cropped, on the CPU; thread-safe.

        Raises HardStop ``missing_input`` or ``image_invalid`` naming the picture.
        """

    def forward(self, pictures: np.ndarray) -> np.ndarray:
        """Return float32 (batch_size, dim), rows of unit length, of uint8 (batch_size, h, w, 3).

        uint8 goes to the device; scale, mean and deviation are applied there.
        """


def digest_of(facts: dict[str, Any]) -> str:
    """Return the SHA-256 of an encoder's facts: JSON-ready, all that changes a vector."""
    text = json.dumps({"code": CODE_VERSION, **facts}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Return rows of unit length, float32; an all-zero row stays zero."""
    vectors = np.asarray(vectors, dtype=np.float32)
    length = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return (vectors / np.where(length > 0, length, 1.0)).astype(np.float32)


def embed_pictures(encoder: Encoder, paths: Sequence[Path]) -> np.ndarray:
    """Return float32 (len(paths), dim), one picture after the other; for a handful of them."""
    found = np.empty((len(paths), encoder.dim), np.float32)
    batch = np.zeros((encoder.batch_size, *encoder.size_px, 3), np.uint8)
    for start in range(0, len(paths), encoder.batch_size):
        part = paths[start : start + encoder.batch_size]
        for i, path in enumerate(part):
            batch[i] = encoder.prepare(path)
        batch[len(part) :] = 0
        found[start : start + len(part)] = encoder.forward(batch)[: len(part)]
    return found
