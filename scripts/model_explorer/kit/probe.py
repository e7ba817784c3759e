"""Facts about an interpreter and its machine, by the standard library alone.

``python probe.py`` prints them as JSON: the same file asks any environment, whatever it has.
"""

from __future__ import annotations

import json
import os
import platform
import re
import site
import subprocess
import sys
import sysconfig
from importlib import metadata, util
from typing import Any

LIBRARIES = (
    "torch", "torchvision", "onnxruntime", "onnxruntime-gpu", "onnx", "timm", "open-clip-torch",
    "safetensors", "numpy", "pillow", "matplotlib", "transformers", "opencv-python",
    "opencv-python-headless",
)  # fmt: skip
TIMEOUT_S = 20


def versions(names: Any = LIBRARIES) -> dict[str, str]:
    """Return distribution -> version of what is installed."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def importable(modules: list[str]) -> dict[str, bool]:
    """Return top-level module -> whether it can be found; nothing is imported."""
    out = {}
    for name in modules:
        try:
            out[name] = util.find_spec(name) is not None
        except (ImportError, ValueError, AttributeError):
            out[name] = False
    return out


def distributions(modules: list[str]) -> dict[str, dict[str, str]]:
    """Return module -> its installed distribution and version."""
    if not modules:
        return {}
    owners = (
        metadata.packages_distributions() if hasattr(metadata, "packages_distributions") else {}
    )
    out = {}
    for name in modules:
        for owner in owners.get(name, []):
            out[name] = {"distribution": owner, "version": metadata.version(owner)}
            break
    return out


def cpu_model() -> str:
    """Return the processor's name, or its architecture."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as handle:
            for line in handle:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def memory_gib() -> float | None:
    """Return the machine's memory in GiB, or None where it cannot be asked."""
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
    return round(size / 2**30, 1)


def cores() -> int:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpus() -> list[dict[str, str]]:
    """Return name, memory and driver of NVIDIA cards; empty without a driver."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return []
    if done.returncode:
        return []
    rows = [re.split(r",\s*", line.strip()) for line in done.stdout.splitlines() if line.strip()]
    return [dict(zip(("name", "memory", "driver"), row)) for row in rows]  # noqa: B905


def machine() -> dict[str, Any]:
    """Return processor, memory, cards, system, Python and key libraries."""
    return {
        "cpu": cpu_model(),
        "cores": cores(),
        "ram_gib": memory_gib(),
        "gpus": gpus(),
        "os": platform.platform(),
        "python": platform.python_version(),
        "libraries": versions(),
    }


def interpreter() -> dict[str, Any]:
    """Return where this interpreter lives and where it keeps packages."""
    paths = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    for extra in getattr(site, "getsitepackages", list)():
        paths.append(extra)
    return {
        "executable": sys.executable,
        "prefix": sys.prefix,
        "base_prefix": sys.base_prefix,
        "version": platform.python_version(),
        "packages": list(dict.fromkeys(p for p in paths if os.path.isdir(p))),
        "sys_path": [p for p in sys.path if "site-packages" in p and os.path.isdir(p)],
        "pip": util.find_spec("pip") is not None,
    }


if __name__ == "__main__":
    asked = sys.argv[1:]
    # The script's own folder comes first in sys.path; it must not be taken for packages.
    sys.path = [
        p for p in sys.path if os.path.abspath(p) != os.path.dirname(os.path.abspath(__file__))
    ]
    print(
        json.dumps(
            {
                "interpreter": interpreter(),
                "importable": importable(asked),
                "distributions": distributions(asked),
            }
        )
    )
