"""How a run was made: code version, environment, digests of what went in and came out."""

from __future__ import annotations

from typing import Any

from deft.core.hardware import gpus
from dl_lab import record

PACKAGES = (
    "faiss-cpu",
    "jinja2",
    "matplotlib",
    "numpy",
    "onnx",
    "onnxruntime",
    "open-clip-torch",
    "opencv-python-headless",
    "pandas",
    "pillow",
    "pyarrow",
    "scipy",
    "snakemake",
    "timm",
    "torch",
    "torchvision",
)


def environment() -> dict[str, Any]:
    """Return Python, platform, package versions and devices. No environment variables."""
    cards = [{"kind": "gpu", "name": g.name, "memory_gib": g.memory_gib} for g in gpus()]
    return record.environment(PACKAGES, cards)
