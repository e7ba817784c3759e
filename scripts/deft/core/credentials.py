"""Credentials of the user, from the environment or the workspace's ``.env``; never shown."""

from __future__ import annotations

import os
from pathlib import Path

ENV_FILE = ".env"
# NVIDIA's earlier workflow calls the registry's key NGC_API_KEY, its current one NGC_KEY.
NAMES = {"NGC_API_KEY": ("NGC_API_KEY", "NGC_KEY")}


def credential(workspace: str | Path, name: str) -> str | None:
    """Return a credential under any of its names, or None; for the one call that needs it."""
    names = NAMES.get(name, (name,))
    for each in names:
        if os.environ.get(each):
            return os.environ[each]
    file = Path(workspace) / ENV_FILE
    if not file.is_file():
        return None
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.strip().removeprefix("export ").partition("=")
        key, value = key.strip(), value.strip().strip("'\"")
        # NVIDIA's own files call the key NGC_API_KEY_<something>, too.
        named = key in names or (name in NAMES and key.startswith(f"{name}_"))
        if named and value:
            return value
    return None


def state_of(workspace: str | Path, name: str) -> str:
    """Return ``set``, ``set (.env)`` or ``unset``."""
    if any(os.environ.get(each) for each in NAMES.get(name, (name,))):
        return "set"
    return "set (.env)" if credential(workspace, name) else "unset"
