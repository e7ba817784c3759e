"""Which pictures were replaced since a run first looked at them, as the pre-flight found it.

Read while the Snakefile is parsed: standard library only. Nobody looks at a million pictures there,
so the pre-flight does, and this is its word.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deft.core.errors import HardStop
from deft.core.layout import TABLES
from deft.core.reading import read_json

REPLACED_FILE = "preflight/pictures.json"
ONE = {"pictures": int, "first": str, "sha256": str}


def replaced(run_dir: str | Path) -> dict[str, Any]:
    """Return table (its short name) -> how many pictures, the first one, and a digest of them all.

    Empty where none was, and where there is no such file or a damaged one.
    """
    try:
        found = read_json(Path(run_dir) / REPLACED_FILE, {"replaced": dict})["replaced"]
        return {name: found[name] for name in TABLES if _sound(found.get(name))}
    except (HardStop, TypeError):
        return {}


def _sound(one: Any) -> bool:
    return isinstance(one, dict) and all(isinstance(one.get(k), t) for k, t in ONE.items())


def digest_of_tables(run_dir: str | Path, *names: str) -> str:
    """Return the digest of these tables' replaced pictures, ``""`` where there are none."""
    found = replaced(run_dir)
    return "-".join(found[name]["sha256"][:16] for name in names if name in found)
