"""Mixed precision of a training: which dtype the network computes in, and the loss's scale."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch

from deft.changenet.spec import Spec
from deft.core.errors import HardStop

Cast = Callable[[], AbstractContextManager[Any]]
DTYPES = {
    **dict.fromkeys(("32-true", "32", "fp32"), None),
    **dict.fromkeys(("bf16-mixed", "bf16"), torch.bfloat16),
    **dict.fromkeys(("16-mixed", "16", "fp16"), torch.float16),
}


class Precision:
    """What ``train.precision`` means on a device.

    Parameters and the optimizer stay float32 in every mode, and the loss is computed in float32.
    float16 overflows in small gradients, so the loss is scaled up (``scaler``); a step whose
    gradients are not finite is left out and the scale halved.

    Raises
    ------
    HardStop ``spec_invalid`` for float16 on a CPU, where torch has no fast kernels for it.
    """

    def __init__(self, spec: Spec, device: torch.device) -> None:
        self.device = device
        self.dtype = DTYPES[spec.train.precision]
        if self.dtype is torch.float16 and device.type != "cuda":
            raise HardStop(
                "spec_invalid",
                f"train.precision {spec.train.precision!r} needs a CUDA device, and this training "
                f"runs on {device.type}",
                file=spec.source,
                fix="set train.precision: bf16-mixed or 32-true",
            )
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype is torch.float16)

    def autocast(self) -> torch.autocast:
        """Return the context in which the network runs."""
        on = self.dtype is not None
        # bfloat16 stands in where nothing is cast: a CPU knows no other dtype here.
        return torch.autocast(self.device.type, dtype=self.dtype or torch.bfloat16, enabled=on)


@contextmanager
def float32_scores() -> Iterator[None]:
    """Run a network that scores: float32 throughout, whatever it trained in.

    The KPI's threshold is taken from these scores and must hold for the exported network, too. On
    CUDA convolutions would otherwise round their inputs to TF32, a thousandth of their value, and
    so would matrix products where the program or its container asks for that.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
