"""The v2 protocol's tensors: names of types, JSON and bytes to arrays and back."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from .folder import Refusal

# numpy's name -> the protocol's
DATATYPES = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64",
    "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64", "float16": "FP16",
    "float32": "FP32", "float64": "FP64",
}  # fmt: skip
NAMES_OF = {**{v: k for k, v in DATATYPES.items()}, "BYTES": "str", "BF16": "bfloat16"}


def short(value: Any, limit: int = 120) -> str:
    """Return a server's word for a message: one line, not endless."""
    text = " ".join(str(value).split())
    return text if len(text) <= limit else f"{text[:limit]}…"


def to_json(value: np.ndarray, kind: str) -> list[Any]:
    """Return an array's numbers in row-major order; raises :class:`Refusal` for types that JSON
    has no numbers for.
    """
    if kind in ("FP16", "BF16"):
        raise Refusal(f"{kind} cannot be sent as JSON, and the server has no binary tensors")
    flat = np.ascontiguousarray(value).ravel()
    return [str(v) for v in flat.tolist()] if kind == "BYTES" else list(flat.tolist())


def to_bytes(value: np.ndarray, kind: str) -> bytes:
    """Return an array's bytes, little-endian; strings each after their length."""
    if kind == "BYTES":
        texts = [str(v).encode() for v in np.ascontiguousarray(value).ravel().tolist()]
        return b"".join(struct.pack("<I", len(t)) + t for t in texts)
    if kind == "BF16":
        raw = np.ascontiguousarray(value, dtype="<f4").view("<u4")
        return bytes((raw >> 16).astype("<u2").tobytes())
    return np.ascontiguousarray(value, dtype=np.dtype(_name(kind)).newbyteorder("<")).tobytes()


def from_json(tensor: dict[str, Any]) -> np.ndarray:
    """Return a tensor's ``data`` as an array of its ``shape``."""
    data, kind = tensor.get("data"), tensor["datatype"]
    if not isinstance(data, list):
        raise Refusal(f"output {short(tensor['name'])} has no data")
    try:
        return _shaped(np.asarray(data, dtype=object if kind == "BYTES" else _name(kind)), tensor)
    except (ValueError, TypeError, OverflowError) as error:
        raise Refusal(
            f"output {short(tensor['name'])} is no {short(kind)}: {short(error)}"
        ) from None


def from_bytes(data: bytes, tensor: dict[str, Any]) -> np.ndarray:
    """Return a tensor's bytes as an array of its ``shape``."""
    kind = tensor["datatype"]
    try:
        if kind == "BYTES":
            texts = []
            while data:
                (length,) = struct.unpack_from("<I", data)
                if length > len(data) - 4:
                    raise ValueError("a text is cut off")
                texts.append(data[4 : 4 + length].decode("utf-8", "replace"))
                data = data[4 + length :]
            return _shaped(np.asarray(texts, dtype=object), tensor)
        if kind == "BF16":
            raw = np.frombuffer(data, "<u2").astype("<u4") << 16
            return _shaped(raw.view("<f4"), tensor)
        found = np.frombuffer(data, np.dtype(_name(kind)).newbyteorder("<"))
        return _shaped(found.astype(_name(kind)), tensor)
    except (ValueError, struct.error) as error:
        raise Refusal(
            f"output {short(tensor['name'])} is no {short(kind)}: {short(error)}"
        ) from None


def _name(kind: str) -> str:
    if kind not in NAMES_OF:
        raise Refusal(f"the type {short(kind)} is none of the v2 protocol's")
    return NAMES_OF[kind] if kind != "BF16" else "float32"


def _shaped(value: np.ndarray, tensor: dict[str, Any]) -> np.ndarray:
    shape = [int(n) for n in tensor["shape"]]
    if value.size != int(np.prod(shape)):
        raise Refusal(
            f"output {short(tensor['name'])} is said to be {short(shape)}, and {value.size} values "
            "were sent"
        )
    return value.reshape(shape)
