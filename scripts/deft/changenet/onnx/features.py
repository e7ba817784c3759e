"""Which tensor of an exported network is the backbone's last level of the test picture.

The file has no output for it, as TAO's has none, and its exporter names tensors as it likes: the
one is taken whose numbers are torch's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from deft.changenet.onnx.runtime import INPUTS, require
from deft.score_kit.embeddings import with_output
from deft.score_kit.network import NUMBERS_BESIDE

TOLERANCE = 1e-4  # of a value, relative where values exceed 1


def feature_tensor(
    path: Path, test: np.ndarray, golden: np.ndarray, wanted: np.ndarray
) -> str | None:
    """Return the tensor's name, None where no tensor is it.

    ``test``, ``golden``: float32 inputs of a few pairs whose sides differ; ``wanted``: torch's
    last level of ``test``, float32 (B, C, h, w) or (B, C).
    """
    onnx = require("onnx")
    model = onnx.load(str(path), load_external_data=False)
    known = onnx.shape_inference.infer_shapes(model).graph.value_info
    names = [info.name for info in known if _shape(info)[1:] == list(wanted.shape[1:])]
    if not names:
        return None
    data = path.read_bytes()
    for name in names:
        data = with_output(data, name)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry(NUMBERS_BESIDE, str(path.parent))
    try:
        session = onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])
        found = session.run(names, dict(zip(INPUTS, (test, golden), strict=True)))
    except Exception:  # onnxruntime's own classes have no common base
        return None
    return next((n for n, f in zip(names, found, strict=True) if _equal(f, wanted)), None)


def _equal(found: np.ndarray, wanted: np.ndarray) -> bool:
    if found.shape != wanted.shape or found.dtype != np.float32:
        return False
    return bool((np.abs(found - wanted) <= TOLERANCE * np.maximum(1, np.abs(wanted))).all())


def _shape(info: Any) -> list[int]:
    """Return a tensor's shape; 0 for a side that may be any."""
    return [side.dim_value for side in info.type.tensor_type.shape.dim]
