"""Tiny ONNX graphs with the traits that models of the world have: values, states, texts, types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

FLOAT, HALF, INT64, INT8, TEXT, BOOL = (
    TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64, TensorProto.INT8,
    TensorProto.STRING, TensorProto.BOOL,
)  # fmt: skip
OPSET, IR = 17, 8


def saved(
    path: Path,
    nodes: list[Any],
    inputs: dict[str, tuple[int, list[Any]]],
    outputs: dict[str, tuple[int, Any]],
    weights: dict[str, np.ndarray] | None = None,
    opset: int = OPSET,
    ir: int = IR,
    **external: Any,
) -> Path:
    """Write a graph; a shape of an output may be None."""

    def entries(of: dict[str, Any]) -> list[Any]:
        return [helper.make_tensor_value_info(n, kind, shape) for n, (kind, shape) in of.items()]

    tensors = [numpy_helper.from_array(v, n) for n, v in (weights or {}).items()]
    graph = helper.make_graph(nodes, "tiny", entries(inputs), entries(outputs), tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    save(model, str(path), **external)
    return path


def voice(path: Path, unnamed: bool = False) -> Path:
    """A detector of voice as silero's: samples, a state that comes back changed, and a rate that
    is no tensor with axes; only 16000 Hz and 512 samples run.
    """
    batch, samples, back = (None, None, None) if unnamed else ("batch", "samples", "batch")
    nodes = [
        helper.make_node("Reshape", ["input", "many"], ["window"]),  # (batch, 512)
        helper.make_node("Cast", ["sr"], ["rate"], to=FLOAT),
        helper.make_node("Div", ["rate", "wanted"], ["share"]),
        helper.make_node("Cast", ["share"], ["whole"], to=INT64),
        helper.make_node("Reshape", ["whole", "one"], ["index"]),
        helper.make_node("Gather", ["table", "index"], ["gain"], axis=0),  # of two rows
        helper.make_node("MatMul", ["window", "weight"], ["seen"]),  # (batch, 4)
        helper.make_node("Unsqueeze", ["seen", "zero"], ["lifted"]),  # (1, batch, 4)
        helper.make_node("Add", ["state", "lifted"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["stateN"]),
        helper.make_node("ReduceMean", ["stateN"], ["mean"], axes=[0, 2], keepdims=0),
        helper.make_node("Reshape", ["mean", "column"], ["shaped"]),
        helper.make_node("Mul", ["shaped", "gain"], ["output"]),
    ]
    rng = np.random.default_rng(0)
    weights = {
        "many": np.array([-1, 512]), "wanted": np.array(16000, np.float32),
        "one": np.array([1]), "table": np.array([[0.5], [2.0]], np.float32),
        "weight": rng.normal(size=(512, 4)).astype(np.float32) / 30, "zero": np.array([0]),
        "column": np.array([-1, 1]),
    }  # fmt: skip
    return saved(
        path, nodes,
        {"input": (FLOAT, [batch, samples]), "state": (FLOAT, [2, back, 4]), "sr": (INT64, [])},
        {"output": (FLOAT, [batch, 1]), "stateN": (FLOAT, None if unnamed else [2, back, 4])},
        weights,
    )  # fmt: skip


def pairs(path: Path) -> Path:
    """Two inputs that must be as long as each other, and as no other axis: one symbol."""
    nodes = [helper.make_node("Mul", ["left", "right"], ["both"]),
             helper.make_node("Gather", ["both", "ids"], ["out"], axis=1)]  # fmt: skip
    return saved(
        path, nodes,
        {"left": (FLOAT, ["n", "frames"]), "right": (FLOAT, ["n", "frames"]), "ids": (INT64, [3])},
        {"out": (FLOAT, ["n", 3])},
    )  # fmt: skip


def tokens(path: Path) -> Path:
    """Tokens looked up in a table of five rows, those of padding left out."""
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["vectors"], axis=0),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["vectors", "column"], ["kept"]),
        helper.make_node("ReduceMean", ["kept"], ["embedding"], axes=[1], keepdims=0),
    ]
    weights = {"table": np.eye(5, dtype=np.float32), "last": np.array([2])}
    sequence = (INT64, ["batch", "sequence"])
    return saved(path, nodes, {"input_ids": sequence, "attention_mask": sequence},
                 {"embedding": (FLOAT, ["batch", 5])}, weights)  # fmt: skip


def plain(path: Path, kind: int = FLOAT, shape: Any = ("batch", 4), **keys: Any) -> Path:
    """One node that hands its input on."""
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    return saved(path, nodes, {"x": (kind, list(shape))}, {"y": (kind, list(shape))}, **keys)


def rounded(path: Path) -> Path:
    """An int8 product, as quantizers write it."""
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "scale", "zero"], ["floats"]),
        helper.make_node("MatMul", ["floats", "weight"], ["sum"]),
        helper.make_node("QuantizeLinear", ["sum", "scale", "zero"], ["y"]),
    ]
    weights = {"scale": np.array(0.1, np.float32), "zero": np.array(0, np.int8),
               "weight": np.eye(4, dtype=np.float32)}  # fmt: skip
    return saved(path, nodes, {"x": (INT8, ["batch", 4])}, {"y": (INT8, ["batch", 4])}, weights)


def outside(path: Path) -> Path:
    """A graph whose numbers lie in a file beside it."""
    nodes = [helper.make_node("MatMul", ["x", "weight"], ["y"])]
    return saved(path, nodes, {"x": (FLOAT, ["batch", 64])}, {"y": (FLOAT, ["batch", 64])},
                 {"weight": np.eye(64, dtype=np.float32)}, save_as_external_data=True,
                 location="numbers.bin", size_threshold=0)  # fmt: skip
