"""What the first nodes that read an ONNX graph's inputs say of them: channels, vocabularies."""

from __future__ import annotations

from typing import Any

PASSED = ("Cast", "Identity")  # nodes that leave axes as they are


def first_reads(model: Any) -> dict[str, dict[str, Any]]:
    """Return input -> ``{"op", "weight"}`` of the first node with weights that reads it, with

    ``channels`` (what axis 1, or for a matrix the last axis, must be) and ``table_rows`` (an
    integer input is looked up in a table of so many rows) where these follow.
    """
    weights = {t.name: list(t.dims) for t in model.graph.initializer}
    out: dict[str, dict[str, Any]] = {}
    for entry in model.graph.input:
        if entry.name in weights:
            continue
        names = {entry.name}
        for node in model.graph.node:  # in topological order, as ONNX demands
            if not names & set(node.input):
                continue
            if node.op_type in PASSED:
                names.update(node.output)
                continue
            found = _read(node, names, weights)
            if found:
                out[entry.name] = found
                break
    return out


def _read(node: Any, names: set[str], weights: dict[str, list[int]]) -> dict[str, Any] | None:
    shapes = [weights[n] for n in node.input if n in weights]
    if not shapes:
        return None
    shape = shapes[0]
    found: dict[str, Any] = {"op": node.op_type, "weight": shape}
    if node.op_type == "Gather" and node.input[0] in weights and node.input[1] in names and shape:
        axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
        found["table_rows"] = shape[axis]
    elif node.op_type in ("Conv", "ConvInteger", "QLinearConv") and len(shape) > 2:
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        found["channels"] = shape[1] * groups
    elif node.op_type == "MatMul" and node.input[1] in weights and len(shape) == 2:
        found["channels"] = shape[0]
    elif node.op_type == "Gemm" and node.input[1] in weights and len(shape) == 2:
        turned = next((a.i for a in node.attribute if a.name == "transB"), 0)
        found["channels"] = shape[1 if turned else 0]
    return found if {"table_rows", "channels"} & found.keys() else None
