"""Files for serving the ONNX: Triton's ``config.pbtxt``, TensorRT's command. Paths are relative."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deft.changenet.onnx.runtime import INPUTS, OUTPUT

TRITON = "triton/changenet/config.pbtxt"
TENSORRT = "tensorrt/build_engine.sh"
LARGEST_BATCH, USUAL_BATCH = 32, 8  # pairs, where the file takes any number
QUEUE_US = 2000  # that a request waits for company


def input_shapes(facts: Mapping[str, Any]) -> tuple[list[int], list[int]]:
    """Return the shapes of a pair's two inputs, from ``preprocessing.json``'s content."""
    picture = [3, facts["input_height_px"], facts["input_width_px"]]
    many = facts["num_golden"] > 1
    return picture, [facts["num_golden"], *picture] if many else picture


def triton_config(facts: Mapping[str, Any], batch: int) -> str:
    """Return ``config.pbtxt``; ``batch``: of the file, -1 for any.

    A file with a fixed batch has it in its shapes, since Triton's batches have any size.
    """
    fixed = [batch] if batch > 0 else []
    sides = "".join(
        f'  {{ name: "{name}" data_type: TYPE_FP32 dims: {_dims(fixed + shape)} }}{end}\n'
        for name, shape, end in zip(INPUTS, input_shapes(facts), (",", ""), strict=True)
    )
    if facts["output"] == "logits":
        output = f"dims: {_dims([*fixed, 2])}"
    else:  # one number a pair: Triton knows no tensor without a dimension
        output = f"dims: {_dims(fixed)}" if fixed else "dims: [ 1 ] reshape: { shape: [ ] }"
    lines = [
        "# Triton Inference Server: README.md beside model.onnx says how it is started.",
        'name: "changenet"',
        'platform: "onnxruntime_onnx"',
        f"max_batch_size: {0 if fixed else LARGEST_BATCH}",
        f"input [\n{sides}]",
        f'output [\n  {{ name: "{OUTPUT}" data_type: TYPE_FP32 {output} }}\n]',
    ]
    if not fixed:
        lines.append(f"dynamic_batching {{ max_queue_delay_microseconds: {QUEUE_US} }}")
    return "\n".join(lines) + "\n"


def _dims(shape: list[int]) -> str:
    return f"[ {', '.join(map(str, shape))} ]"


def tensorrt_script(facts: Mapping[str, Any], batch: int) -> str:
    """Return the shell script that builds an engine with trtexec."""
    shapes = ""
    if batch <= 0:
        for name, count in (("min", 1), ("opt", USUAL_BATCH), ("max", LARGEST_BATCH)):
            sides = ",".join(
                f"{side}:{'x'.join(map(str, [count, *shape]))}"
                for side, shape in zip(INPUTS, input_shapes(facts), strict=True)
            )
            shapes += f"  --{name}Shapes={sides} \\\n"
    return f"""#!/bin/sh
# sh tensorrt/build_engine.sh [fp32|fp16] [more options of trtexec]
# An engine fits the GPU and the TensorRT that built it. fp16 changes scores: before it is used,
# python compare_engine.py must say that it decides every part alike.
set -eu
cd "$(dirname "$0")/.."
form=${{1:-fp32}}
[ $# -eq 0 ] || shift
case $form in
  fp32) precision=--noTF32 ;;
  fp16) precision=--fp16 ;;
  *) echo "fp32 or fp16, not $form" >&2; exit 2 ;;
esac
trtexec --onnx={facts["file"]} \\
{shapes}  $precision --saveEngine="tensorrt/model.$form.plan" --skipInference "$@"
echo "tensorrt/model.$form.plan; next: python compare_engine.py --csv TABLE --images ROOT \\
--engine tensorrt/model.$form.plan"
"""
