"""A torch module that ONNX Runtime computes: about twice as fast on a CPU (docs/speed.md)."""

from __future__ import annotations

import io
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from deft.changenet.onnx.export import LOWEST_OPSET
from deft.changenet.onnx.runtime import require
from deft.core.errors import HardStop
from deft.embedding.encoders.base import unit_rows

PROVIDER = "CPUExecutionProvider"
TOLERANCE = 1e-4  # of a number of a unit vector, between the runtimes
ADVICE = "set embed_runtime: torch"


@contextmanager
def exportable(module: nn.Module) -> Iterator[None]:
    """Spell attention out in single operations: its fused forms have none in ONNX's opset.

    timm's layers have a switch each, torch's own layer has one for the process.
    """
    fused: list[Any] = [m for m in module.modules() if getattr(m, "fused_attn", False) is True]
    before = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        for layer in fused:
            layer.fused_attn = False
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
        for layer in fused:
            layer.fused_attn = True


class OnnxModule:
    """Normalised pictures float32 (B, 3, H, W) -> (B, dim) on the CPU, for one fixed B.

    The module is exported at the first call, so that a stage whose pictures are all in the cache
    does not wait for it. The file is temporary: it depends on the weights alone.

    Raises
    ------
    HardStop ``config_invalid`` (cannot be exported, a package is missing), ``score_invalid``
    (other vectors than torch's).
    """

    def __init__(self, module: nn.Module) -> None:
        self.module: nn.Module | None = module
        self.session: Any = None

    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the vectors of a batch, float32 (B, dim)."""
        # A plain array: the layout of the tensor is channels-last.
        batch = np.ascontiguousarray(pictures.numpy())
        if self.session is None:
            self.session = self._session(pictures)
            self._compare(pictures, self._run(batch))
            self.module = None  # its numbers are the session's now
        return torch.from_numpy(self._run(batch))

    def _run(self, batch: np.ndarray) -> np.ndarray:
        return self.session.run(None, {"pictures": batch})[0]

    def _session(self, example: torch.Tensor) -> Any:
        ort = require("onnxruntime")
        options = ort.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 3
        # Waiting threads that spin starve the decoding of pictures.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        with tempfile.TemporaryDirectory(prefix="deft_encoder_") as folder:
            path = Path(folder) / "encoder.onnx"
            try:
                self._export(example, path)
                return ort.InferenceSession(str(path), options, providers=[PROVIDER])
            except Exception as error:  # exporter and runtime fail in many ways
                first = next(iter(str(error).strip().splitlines()), type(error).__name__)
                raise HardStop(
                    "config_invalid",
                    f"the encoder cannot be exported for ONNX Runtime ({first[:200]})",
                    fix=ADVICE,
                ) from None

    def _export(self, example: torch.Tensor, path: Path) -> None:
        # What the exporter warns of (constants taken from the example) the comparison proves or
        # refutes; the number of pictures is fixed anyway.
        assert self.module is not None
        quiet = redirect_stdout(io.StringIO())  # a failed export prints its whole graph
        with warnings.catch_warnings(), torch.no_grad(), exportable(self.module), quiet:
            warnings.simplefilter("ignore")
            torch.onnx.export(
                self.module,
                (example.contiguous(),),
                str(path),
                dynamo=False,
                opset_version=LOWEST_OPSET,
                input_names=["pictures"],
                output_names=["vectors"],
            )

    def _compare(self, pictures: torch.Tensor, found: np.ndarray) -> None:
        assert self.module is not None
        wanted = self.module(pictures).numpy()
        gap = np.abs(unit_rows(found) - unit_rows(wanted)).max()
        if not gap <= TOLERANCE:
            raise HardStop(
                "score_invalid",
                f"ONNX Runtime's vectors differ from torch's by {gap:.3g}; at most {TOLERANCE:g} "
                "is accepted",
                fix=ADVICE,
            )
