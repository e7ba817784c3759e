"""How a run was made: code version, environment, digests of what went in and came out."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from deft.files import sha256_file
from deft.hardware import gpus

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
GIT_TIMEOUT_S = 20
CREDENTIAL = re.compile(
    r"([\w-]*(?:token|api_?key|secret|passw|credential)[\w-]*)(=|:|\s+)(\S+)", re.IGNORECASE
)


def git_state(code_dir: str | Path) -> dict[str, Any]:
    """Return ``commit, branch, is_dirty`` of the code; null each where git has no answer."""

    def ask(*question: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(code_dir), *question],
                capture_output=True,
                text=True,
                timeout=GIT_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = ask("rev-parse", "--verify", "HEAD")
    changes = ask("status", "--porcelain") if commit else None
    return {
        "commit": commit or None,
        "branch": ask("symbolic-ref", "--short", "HEAD") or None,
        "is_dirty": None if changes is None else bool(changes),
    }


def environment() -> dict[str, Any]:
    """Return Python, platform, package versions and devices. No environment variables."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    devices: list[dict[str, Any]] = [{"kind": "cpu", "count": os.cpu_count()}]
    devices += [{"kind": "gpu", "name": g.name, "memory_gib": g.memory_gib} for g in gpus()]
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions,
        "devices": devices,
    }


def without_credentials(command: str) -> str:
    """Return a command line with the values of credentials taken out.

    >>> without_credentials("snakemake --config hf_token=abc seed=1")
    'snakemake --config hf_token=*** seed=1'
    """
    return CREDENTIAL.sub(r"\1\2***", command)


def relative(path: Path, root: Path) -> str:
    """Return ``path`` below ``root`` with ``/``, or absolute when it lies outside."""
    try:
        return path.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return path.resolve().as_posix()


def file_entries(paths: Iterable[Path], root: Path) -> list[dict[str, Any]]:
    """Return ``path, sha256, bytes`` of the files that exist, sorted by path, each once."""
    entries = {
        relative(path, root): {
            "path": relative(path, root),
            "sha256": sha256_file(path),
            "bytes": path.stat().st_size,
        }
        for path in paths
        if path.is_file()
    }
    return [entries[name] for name in sorted(entries)]
