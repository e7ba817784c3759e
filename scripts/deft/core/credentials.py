"""Credentials of the user, from the environment or the workspace's ``.env``; never shown."""

from __future__ import annotations

import os
from pathlib import Path

ENV_FILE = ".env"


def credential(workspace: str | Path, name: str) -> str | None:
    """Return a credential, or None; for the one call that needs it."""
    if os.environ.get(name):
        return os.environ[name]
    file = Path(workspace) / ENV_FILE
    if not file.is_file():
        return None
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.strip().removeprefix("export ").partition("=")
        key, value = key.strip(), value.strip().strip("'\"")
        # NVIDIA's own files call the key NGC_API_KEY_<something>.
        named = key == name or (name.startswith("NGC_") and key.startswith(f"{name}_"))
        if named and value:
            return value
    return None


def state_of(workspace: str | Path, name: str) -> str:
    """Return ``set``, ``set (.env)`` or ``unset``."""
    if os.environ.get(name):
        return "set"
    return "set (.env)" if credential(workspace, name) else "unset"
