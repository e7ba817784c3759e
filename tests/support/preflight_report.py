"""What a pre-flight of a drawn workspace says, stops included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deft.core.errors import HardStop
from deft.preflight.run import run_preflight
from deft.settings.config import resolve


def preflight_report(workspace: Path, **config: object) -> dict[str, Any]:
    """Return ``checks.json`` of a first run; a stop is one of its checks."""
    settings = resolve({"encoder": "changenet", "device": "cpu", **config})
    try:
        run_preflight(workspace, workspace / "results/run_1", settings, sources={}, log=str)
    except HardStop:
        pass
    found: dict[str, Any] = json.loads(
        (workspace / "results/run_1/preflight/checks.json").read_text()
    )
    return found
