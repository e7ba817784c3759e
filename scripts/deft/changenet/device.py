"""Where the network runs, and torch's process-wide switches for a reproducible training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from deft.changenet.spec import Spec
from deft.errors import HardStop


def pick_device(device: str) -> torch.device:
    """Return the device; ``auto`` is CUDA where there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise HardStop(
            "config_invalid",
            f"device {device!r}: torch finds no CUDA device here",
            fix="set device: auto or cpu",
        )
    return torch.device(device)


@contextmanager
def reproducible(spec: Spec, device: torch.device, threads: int) -> Iterator[torch.device]:
    """Set torch's process-wide switches for a reproducible training, and put them back."""
    before = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.deterministic,
    )
    torch.set_num_threads(max(1, threads))
    # On CUDA some backward passes (bilinear resizing) have no deterministic form.
    torch.use_deterministic_algorithms(device.type == "cpu")
    torch.backends.cudnn.benchmark = spec.train.cudnn.benchmark
    torch.backends.cudnn.deterministic = spec.train.cudnn.deterministic
    try:
        yield device
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1], warn_only=before[2])
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = before[3:]
