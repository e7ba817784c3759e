"""What all encoders do on a device: bytes to normalised pictures to unit vectors."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from deft.changenet.device import pick_device
from deft.changenet.precision import float32_scores
from deft.changenet.speed import check_compiler
from deft.changenet.weights import fill
from deft.core.errors import HardStop
from deft.embedding.encoders.base import PRECISIONS, RUNTIMES, digest_of, unit_rows
from deft.embedding.encoders.preprocessing import Preprocessing


@dataclass(frozen=True)
class Options:
    """How an encoder computes. ``precision`` and ``compile`` change numbers, the others do not.

    ``bfloat16`` is autocast: weights stay float32, matrix products and convolutions are bfloat16.
    ``picture_levels``: full scale of pictures deeper than 8 bits.
    """

    device: str = "cpu"
    batch_size: int = 32
    precision: str = "float32"
    compile: bool = False
    runtime: str = "torch"
    picture_levels: int | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise HardStop(
                "config_invalid",
                f"precision {self.precision!r} of the encoder; known: {', '.join(PRECISIONS)}",
            )
        if self.runtime not in RUNTIMES:
            raise HardStop(
                "config_invalid",
                f"runtime {self.runtime!r} of the encoder; known: {', '.join(RUNTIMES)}",
            )


class TorchEncoder:
    """An :class:`deft.embedding.encoders.base.Encoder` of a torch module.

    Parameters
    ----------
    module: normalised pictures float32 (B, 3, H, W) -> (B, dim).
    facts: what defines the module (digests of its files, its name), JSON-ready.
    reference: embeddings of the self-test's pictures that came with the weights.
    """

    def __init__(
        self,
        name: str,
        module: nn.Module,
        dim: int,
        preprocessing: Preprocessing,
        facts: dict[str, Any],
        options: Options,
        reference: Path | None = None,
    ) -> None:
        self.name, self.dim, self.reference = name, dim, reference
        preprocessing = replace(preprocessing, levels=options.picture_levels)
        self.preprocessing, self.options = preprocessing, options
        self.batch_size, self.size_px = options.batch_size, preprocessing.size_px
        self.precision = options.precision
        self.device = pick_device(options.device)
        self.digest = digest_of(
            {
                "encoder": facts,
                "preprocessing": preprocessing.facts(),
                "precision": options.precision,
                "runtime": "torch.compile" if options.compile else options.runtime,
            }
        )
        module = module.eval().requires_grad_(False)
        if options.runtime == "onnx":
            self._refuse_what_onnx_lacks()
        self._module: Callable[[torch.Tensor], torch.Tensor] = module.to(self.device).to(
            memory_format=torch.channels_last
        )
        if options.compile:
            check_compiler(self.device)
            self._module = torch.compile(module)
        if options.runtime == "onnx":
            from deft.embedding.encoders.onnx_module import OnnxModule  # wanted only here

            self._module = OnnxModule(module)
        # Divided by tensors: CUDA turns a division by a plain number into a rounded product.
        self._full, self._mean, self._std = (
            torch.tensor(values, dtype=torch.float32, device=self.device).view(-1, 1, 1)
            for values in ([255.0], preprocessing.mean, preprocessing.std)
        )

    def prepare(self, path: Path) -> np.ndarray:
        """See :class:`deft.embedding.encoders.base.Encoder`."""
        return self.preprocessing.prepare(path)

    def forward(self, pictures: np.ndarray) -> np.ndarray:
        """See :class:`deft.embedding.encoders.base.Encoder`."""
        wanted = (self.batch_size, *self.size_px, 3)
        if pictures.shape != wanted or pictures.dtype != np.uint8:
            raise ValueError(f"{pictures.dtype} {pictures.shape} instead of uint8 {wanted}")
        with torch.inference_mode(), float32_scores(), self._cast(), self._attention():
            tensor = torch.from_numpy(np.ascontiguousarray(pictures))
            if self.device.type == "cuda":
                tensor = tensor.pin_memory()  # from there the copy is only queued
            tensor = tensor.to(self.device, non_blocking=True)
            # The permuted view is laid out channels-last, which convolutions prefer.
            tensor = tensor.movedim(-1, -3).float()
            tensor = tensor.div_(self._full).sub_(self._mean).div_(self._std)
            return unit_rows(self._module(tensor).float().cpu().numpy())

    def _refuse_what_onnx_lacks(self) -> None:
        wrong = [
            name
            for name, on in (
                (f"device {self.device.type}", self.device.type != "cpu"),
                (f"embed_precision: {self.precision}", self.precision != "float32"),
                ("embed_compile: true", self.options.compile),
            )
            if on
        ]
        if wrong:
            raise HardStop(
                "config_invalid",
                f"embed_runtime: onnx computes in float32 on a CPU, not with {', '.join(wrong)}",
                fix="set embed_runtime: torch",
            )

    def _attention(self) -> Any:
        """On a CPU: no fused kernel, which some compute by a picture's place in the batch."""
        if self.device.type != "cpu":
            return nullcontext()
        return sdpa_kernel(SDPBackend.MATH)

    def _cast(self) -> Any:
        if self.options.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


def fill_from(model: nn.Module, state: dict[str, torch.Tensor], path: Path, what: str) -> None:
    """Fill an encoder's network, strictly; raises HardStop ``config_invalid`` naming ``what``."""
    rule = f"the weights do not fit {what}"
    fill(model, state, path, "config_invalid", rule, "take both files from the same place")
