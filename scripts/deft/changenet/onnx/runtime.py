"""What both sides of an ONNX file share: its names, and the packages that read it."""

from __future__ import annotations

import importlib
from types import ModuleType

from deft.core.errors import HardStop

INPUTS = ("input_1", "input_2")
OUTPUT = "output"


def require(name: str) -> ModuleType:
    """Import ``onnx`` or ``onnxruntime``; raises HardStop ``config_invalid`` without it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise HardStop(
            "config_invalid",
            f"the package {name} cannot be imported ({error}); export and hand-off need it",
            fix="pip install -r envs/requirements.txt (with a GPU: envs/requirements-gpu.txt)",
        ) from None
