"""An int8 form of the ONNX, kept only when it decides every KPI part as the float form does."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from deft.changenet.data.pairs import PairData, batches
from deft.changenet.onnx.parity import compare, pairs_per_s
from deft.changenet.onnx.runtime import INPUTS, require
from deft.changenet.onnx.scorer import Scorer, score_pairs
from deft.core.files import sha256_file
from deft.tables.spread import spread_rows

CALIBRATION_ROWS = 64
TIMED_PAIRS, TIMED_ROUNDS = 64, 3
FORMS = {
    "dynamic": "int8 weights and, per batch, int8 activations of matrix products (transformers)",
    "static": "int8 weights and activations (QDQ), ranges from training rows (convolutions)",
}


def form_for(onnx_path: str | Path) -> str:
    """Return ``dynamic`` for networks with attention (Softmax nodes), else ``static``.

    Attention's activations vary too much from picture to picture for fixed ranges; convolutions
    on the other hand have no fast dynamic form.
    """
    onnx = require("onnx")
    model = onnx.load(str(onnx_path), load_external_data=False)
    ops = Counter(node.op_type for node in model.graph.node)
    return "dynamic" if ops["Softmax"] else "static"


class TrainingRows:
    """Calibration pictures for onnxruntime: rows of the training table, spread evenly."""

    def __init__(self, data: PairData, batch_size: int, rows: int = CALIBRATION_ROWS) -> None:
        chosen = spread_rows(len(data), rows)
        self.rows = len(chosen)
        whole = len(chosen) >= batch_size  # a fixed batch takes whole batches only
        self._batches = iter(batches(data, chosen, batch_size, drop_last=whole))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next batch by input name, or None after the last."""
        batch = next(self._batches, None)
        if batch is None:
            return None
        sides = (batch.test.numpy(), batch.golden.numpy())
        return {n: np.ascontiguousarray(s) for n, s in zip(INPUTS, sides, strict=True)}


def quantize(
    onnx_path: str | Path, out: str | Path, training: PairData, batch_size: int
) -> dict[str, Any]:
    """Write the int8 form of ``onnx_path``; return ``form``, ``calibration_rows``, ``bytes``."""
    require("onnxruntime")
    from onnxruntime import quantization as q
    from onnxruntime.quantization.shape_inference import quant_pre_process

    onnx_path, out = Path(onnx_path), Path(out)
    form = form_for(onnx_path)
    reader = None
    large = onnx_path.with_name(onnx_path.name + ".data").exists()
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".int8.") as folder, _quiet():
        ready, path = Path(folder) / "ready.onnx", Path(folder) / out.name
        # The symbolic pass knows no GridSample; onnx's own shape inference does.
        quant_pre_process(str(onnx_path), str(ready), skip_symbolic_shape=True,
                          save_as_external_data=large)  # fmt: skip
        common = {"per_channel": True, "weight_type": q.QuantType.QInt8,
                  "use_external_data_format": large}  # fmt: skip
        if form == "dynamic":
            q.quantize_dynamic(str(ready), str(path), op_types_to_quantize=["MatMul"], **common)
        else:
            reader = TrainingRows(training, batch_size)
            q.quantize_static(
                str(ready), str(path), reader, quant_format=q.QuantFormat.QDQ,
                op_types_to_quantize=["Conv", "MatMul", "Gemm"],
                activation_type=q.QuantType.QUInt8, **common,
            )  # fmt: skip
        for part in Path(folder).glob(f"{out.name}*"):
            part.replace(out.with_name(part.name))
    return {
        "form": form,
        "form_means": FORMS[form],
        "calibration_rows": reader.rows if reader else 0,
        "bytes": out.stat().st_size,
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep onnxruntime's advice on preprocessing, already followed, off the log."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def try_int8(
    onnx_path: str | Path,
    out: str | Path,
    kpi: PairData,
    training: PairData,
    reference: np.ndarray,
    threshold: float,
    *,
    device: str = "cpu",
    threads: int = 1,
    batch_size: int | None = None,
    rows: np.ndarray | None = None,
) -> dict[str, Any]:
    """Make the int8 form and keep it only if no KPI decision flips; return the record.

    ``reference``: float32 scores of the KPI table (of its ``rows``) as the KPI measured them. The
    record has
    ``kept``, ``reason``, the comparison, and the rates of both forms on the same pictures. A form
    that flips a decision is deleted: that is a result, no error.
    """
    out = Path(out)
    size = batch_size or kpi.spec.dataset.classify.batch_size
    record: dict[str, Any] = quantize(onnx_path, out, training, size)
    scorers = {
        "float": Scorer(onnx_path, device=device, threads=threads),
        "int8": Scorer(out, device=device, threads=threads),
    }
    found = compare(reference, score_pairs(scorers["int8"], kpi, size, rows), threshold)
    rates = {
        name: pairs_per_s(s.run, kpi, size, pairs=TIMED_PAIRS, rounds=TIMED_ROUNDS)
        for name, s in scorers.items()
    }
    record |= {k: v for k, v in found.items() if k != "flipped"}
    record |= {
        "kept": found["flips"] == 0,
        "pairs_per_s": round(rates["int8"], 2),
        "float_pairs_per_s": round(rates["float"], 2),
        "speed_ratio": round(rates["int8"] / rates["float"], 3),
    }
    if record["kept"]:
        record["sha256"] = sha256_file(out)
        record["reason"] = "every KPI part is decided as before"
    else:
        for part in out.parent.glob(f"{out.name}*"):
            part.unlink()
        record["reason"] = (
            f"{found['flips']} of {found['pairs']} KPI parts would be decided otherwise "
            f"(scores differ by up to {found['largest_difference']:.3g})"
        )
    return record
