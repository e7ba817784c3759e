"""Environments in which nothing leaves this machine, and what tried to (see ``guards``)."""

from __future__ import annotations

import os
from pathlib import Path

from import_walk import SCRIPTS
from workflow_tools import clean_environment

from deft.core import airgap

GUARDS = Path(__file__).resolve().parent / "guards"


def guarded(log: Path, **more: str) -> dict[str, str]:
    """Return an environment in which nothing gets out, and what tries to is written to ``log``."""
    env = clean_environment()
    for name in (airgap.OWN, *airgap.IMPLIED, "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
        env.pop(name, None)
        env.pop(name.lower(), None)
    paths = [str(GUARDS), str(SCRIPTS)]
    return env | {"PYTHONPATH": os.pathsep.join(paths), "GUARD_LOG": str(log)} | more


def attempts(log: Path) -> list[str]:
    """Return what tried to get out."""
    return log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
