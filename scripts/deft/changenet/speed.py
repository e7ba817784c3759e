"""How a network is laid out on a device to run fast without changing what it computes."""

from __future__ import annotations

import torch

from deft.changenet.model import ChangeNet
from deft.core.errors import HardStop


def prepare(model: ChangeNet, device: torch.device, *, compile: bool = False) -> ChangeNet:
    """Move ``model`` to ``device``, channels-last, and compile it if asked; return it.

    ``compile`` runs backbone and comparison through ``torch.compile``: parameters and keys of the
    saved weights stay, outputs move by float noise (about 1e-6). The first batches then take
    minutes, so it pays for long runs only.

    Raises
    ------
    HardStop ``config_invalid`` when this machine has no compiler that ``torch.compile`` can use.
    """
    model.to(device).to(memory_format=torch.channels_last)
    if compile:
        check_compiler(device)
        network = model.model
        # The parts that training and scoring share; as attributes they are no part of the state.
        for name in ("features_of", "from_features", "embed", "compare"):
            setattr(network, name, torch.compile(getattr(network, name)))
    return model


def check_compiler(device: torch.device) -> None:
    """Compile one line, so that a missing compiler is told before anything else is done."""
    try:
        torch.compile(torch.sin)(torch.zeros(4, device=device))
    except Exception as error:  # whatever torch's backends raise
        reason = str(error).strip().splitlines()
        raise HardStop(
            "config_invalid",
            f"compile: true, but torch.compile does not work on {device.type} here "
            f"({type(error).__name__}: {reason[0] if reason else 'no reason given'})",
            fix="install a C++ compiler, or set compile: false",
        ) from None
