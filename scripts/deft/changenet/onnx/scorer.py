"""ONNX Runtime as inference engine: the same pictures and batches, another runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from deft.changenet.data.pairs import PairData, Rows, batches
from deft.changenet.onnx.runtime import INPUTS, OUTPUT, require
from deft.core.errors import HardStop

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
GPU_ADVICE = (
    "install onnxruntime-gpu instead of onnxruntime (both together hide CUDA; see "
    "envs/requirements-gpu.txt), or set device: cpu"
)
SOURCE_ADVICE = "give a file that this project or TAO exported"
PICTURE_AXES = 4
# Repeatable numbers rather than the last percent of speed: no TF32, no timing of algorithms.
CUDA_OPTIONS = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}


def wanted_provider(device: str) -> str:
    """Return the execution provider for ``device``; ``auto`` is CUDA where torch sees a card.

    Raises HardStop ``config_invalid`` when CUDA is meant and this onnxruntime has none.
    """
    card = torch.cuda.is_available()
    if device == "cpu" or (device == "auto" and not card):
        return CPU
    if not card:
        raise HardStop(
            "config_invalid",
            f"device {device!r}: there is no CUDA device here",
            fix="set device: auto or cpu",
        )
    require_cuda_build(device)
    return CUDA


def require_cuda_build(device: str) -> None:
    """Stop with ``config_invalid`` when the installed onnxruntime knows no CUDA."""
    available = require("onnxruntime").get_available_providers()
    if CUDA not in available:
        raise HardStop(
            "config_invalid",
            f"device {device!r} with runtime: onnx: this onnxruntime was built without CUDA "
            f"(it has {', '.join(available)})",
            fix=GPU_ADVICE,
        )


class Scorer:
    """A loaded ONNX file.

    ``provider`` is what it really runs on. Its numbers depend on the file and the pictures, not on
    the company of other pairs beyond float noise (about 1e-6).

    Raises HardStop ``missing_input``, ``spec_invalid`` (not an ONNX file, other inputs or outputs),
    ``config_invalid`` (CUDA asked for, CPU given).
    """

    def __init__(self, path: str | Path, *, device: str = "cpu", threads: int = 1) -> None:
        ort = require("onnxruntime")
        self.path = Path(path)
        if not self.path.is_file():
            raise HardStop("missing_input", "the ONNX file does not exist", file=self.path)
        self.provider = wanted_provider(device)
        options = ort.SessionOptions()
        options.intra_op_num_threads = max(1, threads)
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 3
        # Waiting threads that spin starve the decoding of pictures.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers: list[Any] = [self.provider]
        if self.provider == CUDA:
            providers = [(CUDA, CUDA_OPTIONS), CPU]
        try:
            self.session = ort.InferenceSession(str(self.path), options, providers=providers)
        except Exception as error:  # onnxruntime's own classes have no common base
            raise HardStop(
                "spec_invalid",
                f"ONNX Runtime cannot load the file ({_first_line(error)})",
                file=self.path,
                fix=SOURCE_ADVICE,
            ) from None
        assert_provider(self.session.get_providers(), self.provider)
        found = [i.name for i in self.session.get_inputs()]
        if found != list(INPUTS):
            raise HardStop(
                "spec_invalid",
                f"the ONNX file has the inputs {found} instead of {list(INPUTS)}",
                file=self.path,
                fix=SOURCE_ADVICE,
            )
        outputs = [o.name for o in self.session.get_outputs()]
        self.shape = list(self.session.get_inputs()[0].shape)
        if OUTPUT not in outputs or len(self.shape) != PICTURE_AXES:
            raise HardStop(
                "spec_invalid",
                f"the ONNX file has the outputs {outputs} and pictures of shape {self.shape} "
                f"instead of {[OUTPUT]} and (batch, 3, height, width)",
                file=self.path,
                fix=SOURCE_ADVICE,
            )
        first = self.shape[0]  # text, or None, where any number of pairs goes
        self.fixed_batch = first if isinstance(first, int) and first > 0 else None

    def run(self, test: np.ndarray, golden: np.ndarray) -> np.ndarray:
        """Return outputs float32, (B, 2) or (B,), of normalised float32 pictures.

        Raises HardStop ``spec_invalid`` where the file cannot take them, such as at another size.
        """
        count, size = len(test), self.fixed_batch or len(test)
        parts = []
        for start in range(0, count, size):
            fed = [_padded(side[start : start + size], size) for side in (test, golden)]
            parts.append(self._output(*fed))
        return np.concatenate(parts)[:count]

    def _output(self, test: np.ndarray, golden: np.ndarray) -> np.ndarray:
        try:
            (found,) = self.session.run([OUTPUT], dict(zip(INPUTS, (test, golden), strict=True)))
        except Exception as error:  # onnxruntime's own classes have no common base
            raise HardStop(
                "spec_invalid",
                f"ONNX Runtime cannot compute pictures of shape {test.shape} with goldens of "
                f"{golden.shape}; the file takes {self.shape} ({_first_line(error)})",
                file=self.path,
                fix="give the file that was exported with this spec; where memory is short, a "
                "smaller dataset.classify.batch_size",
            ) from None
        if found.shape not in ((len(test),), (len(test), 2)):
            raise HardStop(
                "spec_invalid",
                f"the ONNX file gives an output of shape {found.shape} for {len(test)} pair(s) "
                "instead of (batch, 2) or (batch)",
                file=self.path,
                fix=SOURCE_ADVICE,
            )
        return found


def assert_provider(providers: list[str], wanted: str) -> None:
    """Stop when the session runs elsewhere than asked: onnxruntime falls back without an error."""
    if not providers or providers[0] != wanted:
        raise HardStop(
            "config_invalid",
            f"ONNX Runtime was asked for {wanted} and fell back to {', '.join(providers)}",
            fix=f"its CUDA libraries do not load here: {GPU_ADVICE}",
        )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _padded(pictures: np.ndarray, size: int) -> np.ndarray:
    missing = size - len(pictures)
    if missing:
        pictures = np.concatenate([pictures, np.repeat(pictures[-1:], missing, axis=0)])
    return np.ascontiguousarray(pictures, np.float32)


def to_scores(output: np.ndarray) -> np.ndarray:
    """Return float32 scores (B,) from logits (B, 2) (the NG probability) or distances (B,)."""
    tensor = torch.from_numpy(np.asarray(output, np.float32))
    return (tensor.softmax(dim=1)[:, 1] if tensor.ndim == 2 else tensor).numpy()


def score_pairs(
    scorer: Scorer, data: PairData, batch_size: int, rows: Rows | None = None
) -> np.ndarray:
    """Return float32 scores (len(rows),) of a table's rows, in their order; default all."""
    workers = data.spec.dataset.classify.workers
    size = scorer.fixed_batch or batch_size
    order = range(len(data)) if rows is None else rows
    found = [
        scorer.run(batch.test.numpy(), batch.golden.numpy())
        for batch in batches(data, order, size, workers=workers)
    ]
    return to_scores(np.concatenate(found))


def runtime_facts(scorer: Scorer) -> dict[str, str]:
    """Return what a record says of the runtime: its name, version and provider."""
    version = require("onnxruntime").__version__
    return {"name": "onnx", "onnxruntime": version, "provider": scorer.provider}
