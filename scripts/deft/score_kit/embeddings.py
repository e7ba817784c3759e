"""Drift of the pictures: what the network sees in them, compared with the KPI set's good parts.

An embedding is the last level of the backbone for the test picture, averaged over places. A third
of the KPI set's gives the axes (principal ones), the rest is what new parts are compared with, so
that neither side has made the axes. Compared are the places along each axis, the distance
from the axes' space, and the distance within it, by Kolmogorov and Smirnov's test with
Bonferroni's correction for their number.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import Stop
from .files import read_file
from .statistics import DRIFT_DISTANCE, DRIFT_P, FEW, kolmogorov_smirnov

REFERENCE = "kpi_embeddings.npz"
KEPT = 4096  # embeddings that a reference is made of
AXES = 16
FEWEST = 2 * FEW  # embeddings that a reference can be made of
OUTPUT_FIELD, GRAPH_FIELD, NAME_FIELD = 12, 7, 1  # of onnx.proto: GraphProto, ModelProto, ValueInfo


@dataclass(frozen=True)
class Reference:
    """The KPI set's embeddings; ``tensor`` is where the network with ``sha256`` has them.

    ``mean`` (C,), ``axes`` (K, C), ``scale`` (K,) and ``numbers`` (n, K + 2), all float32.
    """

    tensor: str
    sha256: str
    mean: np.ndarray
    axes: np.ndarray
    scale: np.ndarray
    numbers: np.ndarray

    def numbers_of(self, features: np.ndarray) -> np.ndarray:
        """Return float32 (B, K + 2) of features (B, C) or maps (B, C, h, w), as compared."""
        pooled = features.mean(axis=(2, 3)) if features.ndim == 4 else features
        from_mean = np.asarray(pooled, np.float32) - self.mean
        along = from_mean @ self.axes.T
        outside = np.linalg.norm(from_mean - along @ self.axes, axis=1)
        within = np.linalg.norm(along / self.scale, axis=1)
        return np.column_stack([along, outside, within]).astype(np.float32)

    def write(self, path: Path) -> None:
        """Write the file; equal numbers give equal bytes."""
        data = io.BytesIO()
        texts = {  # as bytes: numpy's own texts may hold what is no character
            name: np.frombuffer(getattr(self, name).encode(), np.uint8)
            for name in ("tensor", "sha256")
        }
        arrays = {name: getattr(self, name) for name in ("mean", "axes", "scale", "numbers")}
        np.savez(data, allow_pickle=False, **texts, **arrays)
        path.write_bytes(data.getvalue())


def made_reference(features: np.ndarray, tensor: str, sha256: str) -> Reference | None:
    """Make a reference of embeddings (n, C), or None of fewer than sixty."""
    if len(features) < FEWEST:
        return None
    features = np.asarray(features, np.float32)
    shuffled = features[np.random.default_rng(0).permutation(len(features))]
    first, second = shuffled[: len(features) // 3], shuffled[len(features) // 3 :]
    mean = first.mean(axis=0)
    _, sizes, axes = np.linalg.svd(first - mean, full_matrices=False)
    spread = sizes / np.sqrt(len(first) - 1)
    count = max(1, min(AXES, len(first) // 4, int((spread > 1e-6 * max(spread[0], 1e-30)).sum())))
    scale = np.maximum(spread[:count], 1e-12).astype(np.float32)
    # Which way an axis points is chance of the arithmetic.
    axes = (
        axes[:count] * np.sign(axes[np.arange(count), np.abs(axes[:count]).argmax(axis=1)])[:, None]
    )
    empty = np.zeros((0, count + 2), np.float32)
    found = Reference(tensor, sha256, mean, axes.astype(np.float32), scale, empty)
    return Reference(tensor, sha256, mean, found.axes, scale, found.numbers_of(second))


def read_embeddings(folder: Path) -> Reference | None:
    """Read a hand-off's reference, None where it has none; raises Stop ``missing_input``."""
    path = folder / REFERENCE
    if not path.exists():
        return None
    try:
        with np.load(io.BytesIO(read_file(path)), allow_pickle=False) as told:
            texts = [told[name].tobytes().decode() for name in ("tensor", "sha256")]
            names = ("mean", "axes", "scale", "numbers")
            arrays = [np.asarray(told[name], np.float32) for name in names]
        mean, axes, scale, numbers = arrays
        count, width = axes.shape
        shapes = (mean.shape, scale.shape, numbers.shape[1:])
        if shapes != ((width,), (count,), (count + 2,)) or not len(numbers):
            raise ValueError(f"shapes {[a.shape for a in arrays]}")
        if not all(np.isfinite(a).all() for a in arrays) or not (scale > 0).all():
            raise ValueError("numbers that are none")
    except Exception as error:  # numpy reads headers by Python's own parser
        why = f"the KPI set's embeddings cannot be read ({error})"
        fix = "copy the hand-off's folder again, whole; without the file score.py does without"
        raise Stop("missing_input", why, file=path, fix=fix) from None
    return Reference(texts[0], texts[1], mean, axes, scale, numbers)


def picture_drift(numbers: np.ndarray, passing: np.ndarray, kpi: Reference) -> dict[str, Any]:
    """Compare new parts (n, K + 2) with the KPI set's good parts that pass.

    Compared are the parts that pass (``passing``: bool (n,)), or all where fewer than thirty do.
    ``distance`` and ``p`` are those of the measure that differs most, ``p`` corrected for their
    number; ``drifted`` is None where there are too few parts. Rows that are NaN were not embedded.
    """
    known = np.isfinite(numbers).all(axis=1)
    compared = known & passing
    of = "parts that pass"
    if compared.sum() < FEW:
        compared, of = known, "all parts, since few pass"
    new, old = numbers[compared], kpi.numbers
    out: dict[str, Any] = {"compared": of, "parts": len(new), "kpi_parts": len(old)}
    out |= {"measure": None, "distance": None, "p": None, "drifted": None}
    if min(len(new), len(old)) < FEW:
        return out
    count = numbers.shape[1]
    names = [*(f"axis {i + 1}" for i in range(count - 2)), "outside of the axes", "within them"]
    found = [kolmogorov_smirnov(new[:, i], old[:, i]) for i in range(count)]
    most = max(range(count), key=lambda i: found[i][0])
    distance, chance = found[most][0], min(1.0, count * found[most][1])
    drifted = chance < DRIFT_P and distance >= DRIFT_DISTANCE
    return out | {"measure": names[most], "distance": distance, "p": chance, "drifted": drifted}


def with_output(model: bytes, tensor: str) -> bytes:
    """Return an ONNX file's bytes with one more output: a tensor that the graph has anyway.

    Two messages of protobuf one after the other are one that has the fields of both, so nothing is
    parsed; the file on disk stays as it was handed off.
    """
    info = _field(NAME_FIELD, tensor.encode())
    return model + _field(GRAPH_FIELD, _field(OUTPUT_FIELD, info))


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])
