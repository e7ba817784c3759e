"""What an ONNX graph tells of its precision."""

from __future__ import annotations

import math
from typing import Any

import onnx

QUANTIZING = {
    "DynamicQuantizeLinear", "QuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger",
    "MatMulInteger", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM",
}  # fmt: skip
NAMES = {"float": "float32", "double": "float64"}


def precision(graph: Any) -> dict[str, str | None]:
    """Return the element types of the ``weights`` by their share, the largest first, and the
    operators by which it is ``quantized``.
    """
    counts: dict[str, int] = {}
    for tensor in graph.initializer:
        name = onnx.TensorProto.DataType.Name(tensor.data_type).lower()
        name = NAMES.get(name, name)
        counts[name] = counts.get(name, 0) + math.prod(tensor.dims)
    whole = sum(counts.values())
    ordered = sorted(counts, key=lambda n: -counts[n]) if whole else []
    shares = [f"{name} {100 * counts[name] / whole:.0f} %" for name in ordered]
    operators = sorted({node.op_type for node in graph.node} & QUANTIZING)
    return {"weights": ", ".join(shares) or None, "quantized": ", ".join(operators) or None}
