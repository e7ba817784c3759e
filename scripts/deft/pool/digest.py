"""What an approval covers: the parameters that change results, and the inputs.

Read while the Snakefile is parsed: standard library only, and nothing is read but tables and
listings. The mining pool grows daily, so only its rows at the run's start count: the first
``prefix_bytes`` bytes of its table, as recorded in ``preflight/inputs.json``.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from deft.core.errors import HardStop
from deft.core.files import sha256_file, sha256_text
from deft.core.layout import (
    ACCEPTANCE_TABLE,
    BACKBONE_DIR,
    BASE_TABLE,
    CORRECTIONS,
    DEFECT_SPEC,
    KPI_TABLE,
    POOL_TABLE,
    PREGEN_DIR,
    SPEC,
    TABLES,
    VALIDATION_TABLE,
)
from deft.core.reading import check_shape, read_json
from deft.pool.pregen.listing import counted_files, is_litter
from deft.pool.replaced import replaced
from deft.settings.known import approval_of, rule_of

SCHEMA_VERSION = 1
MATTER = {"parameters": dict, "inputs": dict}
APPROVAL = {"digest": str, "inputs": MATTER, "approved_by": str, "approved_at": str, "how": str}
INPUTS_FILE = "preflight/inputs.json"
APPROVAL_FILE = "preflight/approval.json"
GATE_FILE = "preflight/gate.json"
HASHED_FILES = (SPEC, BASE_TABLE, VALIDATION_TABLE, KPI_TABLE, DEFECT_SPEC)
OPTIONAL_FILES = (CORRECTIONS, ACCEPTANCE_TABLE)
LISTED_FOLDERS = (PREGEN_DIR, BACKBONE_DIR)
PICTURES = "pictures"


def inputs_digest(
    workspace: str | Path, config: dict[str, Any], *, pool_prefix_bytes: int | None = None
) -> dict[str, Any]:
    """Return ``{"schema_version", "parameters", "inputs"}``, the matter of one approval.

    ``pool_prefix_bytes`` limits the pool's table to its rows at the run's start; None takes the
    whole file. Absent inputs are null, so that their appearance is a change too.
    """
    root = Path(workspace)
    inputs: dict[str, Any] = {
        name: sha256_file(root / name) if (root / name).is_file() else None for name in HASHED_FILES
    }
    for name in OPTIONAL_FILES:  # few runs have one: without it approvals stay as they were
        if (root / name).is_file():
            inputs[name] = sha256_file(root / name)
    inputs[PREGEN_DIR] = pregen_listing(root)
    inputs[BACKBONE_DIR] = listing_digest(root / BACKBONE_DIR)
    inputs[POOL_TABLE] = pool_digest(root / POOL_TABLE, pool_prefix_bytes)
    weights = config.get("encoder_weights")
    if weights:
        path = root / Path(str(weights)).expanduser()
        inputs["encoder_weights"] = listing_digest(path) if path.is_dir() else _size(path)
    parameters = {
        k: config[k]
        for k in sorted(config)
        if approval_of(k) == "yes"
        or (approval_of(k) == "when set" and config[k] != rule_of(k)["default"])
    }
    return {"schema_version": SCHEMA_VERSION, "parameters": parameters, "inputs": inputs}


def pool_digest(table: Path, prefix_bytes: int | None) -> dict[str, Any] | None:
    """Return ``{"prefix_bytes", "sha256"}`` of the pool's table, or None without one."""
    if not table.is_file():
        return None
    size = table.stat().st_size
    length = size if prefix_bytes is None else prefix_bytes
    # A table shorter than the prefix lost rows: its size then differs from what was approved.
    return {"prefix_bytes": min(length, size), "sha256": sha256_file(table, length)}


def pregen_listing(workspace: Path) -> str | None:
    """Return the SHA-256 of names and sizes of the pre-generated files that count."""
    folder = workspace / PREGEN_DIR
    return _listed(folder, counted_files(workspace)) if folder.is_dir() else None


def listing_digest(folder: Path) -> str | None:
    """Return the SHA-256 of the sorted (relative name, size) pairs of the files below a folder.

    What file managers leave there (hidden files, ``Thumbs.db``) does not count.
    """
    if not folder.is_dir():
        return None
    found = []
    for base, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_litter(name)]
        found += [
            os.path.relpath(os.path.join(base, name), folder).replace(os.sep, "/")
            for name in names
            if not is_litter(name)
        ]
    return _listed(folder, found)


def _listed(folder: Path, names: list[str]) -> str:
    digest = hashlib.sha256()
    for name in sorted(names):
        path = folder / name
        size = path.stat().st_size if path.exists() else -1
        digest.update(f"{name}\t{size}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def digest_of(matter: dict[str, Any]) -> str:
    """Return the one digest of :func:`inputs_digest`'s answer."""
    return sha256_text(json.dumps(matter, sort_keys=True, ensure_ascii=False, default=str))


def recorded(run_dir: str | Path) -> dict[str, Any] | None:
    """Return the run's ``inputs.json``, or None when there is none or it is broken."""
    found = read_or_none(Path(run_dir) / INPUTS_FILE, {"inputs": dict})
    return found if found and isinstance(found.get("parameters", {}), dict) else None


def read_or_none(path: Path, shape: Any) -> dict[str, Any] | None:
    """Return a file of this folder, None when there is none or it is not what was written."""
    try:
        content: dict[str, Any] = read_json(path, shape)
    except HardStop:
        return None
    return content


def pool_prefix(run_dir: str | Path) -> int | None:
    """Return how many bytes of the pool's table belong to this run; None before pre-flight.

    Pool staging reads only these, so that rows appended later wait for the next run.
    """
    known = recorded(run_dir)
    pool = (known or {}).get("inputs", {}).get(POOL_TABLE)
    if pool is None:
        return None
    if check_shape(pool, {"prefix_bytes": int}) or pool["prefix_bytes"] < 0:
        return None
    return int(pool["prefix_bytes"])


def current(workspace: str | Path, run_dir: str | Path, config: dict[str, Any]) -> dict[str, Any]:
    """Return :func:`inputs_digest` with the pool as the run recorded it."""
    matter = inputs_digest(workspace, config, pool_prefix_bytes=pool_prefix(run_dir))
    return with_replaced(matter, run_dir)


def with_replaced(matter: dict[str, Any], run_dir: str | Path) -> dict[str, Any]:
    """Return the matter with what the last pre-flight found replaced; itself where nothing was."""
    found = replaced(run_dir)
    return {**matter, "inputs": {**matter["inputs"], PICTURES: found}} if found else matter


def changes_since_gate(
    workspace: str | Path, run_dir: str | Path, config: dict[str, Any]
) -> list[str]:
    """Return what differs from the approval that the run's gate passed, if anything."""
    run_dir = Path(run_dir)
    matter = current(workspace, run_dir, config)
    gate = read_or_none(run_dir / GATE_FILE, {"digest": str})
    if gate and gate.get("digest") == digest_of(matter):
        return []
    approved = (read_or_none(run_dir / APPROVAL_FILE, APPROVAL) or {}).get("inputs", {})
    return explain_changes(approved, matter) or ["the gate was passed for another approval"]


def explain_changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return one line per parameter or input that differs, the old and the new value."""
    lines = []
    was, now = old.get("parameters", {}), new.get("parameters", {})
    for name in sorted(was.keys() | now.keys()):
        if was.get(name) != now.get(name):
            lines.append(f"{name}: {_show(was.get(name))} → {_show(now.get(name))}")
    was, now = old.get("inputs", {}), new.get("inputs", {})
    for name in sorted(was.keys() | now.keys()):
        before, after = was.get(name), now.get(name)
        if before == after:
            continue
        if name == PICTURES:
            lines.append(_pictures(after))
        elif before is None:
            lines.append(f"{name}: appeared")
        elif after is None:
            lines.append(f"{name}: is gone")
        elif name == POOL_TABLE:
            lines.append(f"{name}: rows of this run were edited or removed")
        elif name in LISTED_FOLDERS:
            lines.append(f"{name}: files were added, removed or changed in size")
        else:
            lines.append(f"{name}: content changed ({str(before)[:8]}… → {str(after)[:8]}…)")
    return lines


def _pictures(found: dict[str, Any] | None) -> str:
    if not found:
        return "pictures: those that the run began with are back"
    told = (f"{one['pictures']} of {TABLES[table]}" for table, one in found.items())
    return f"pictures: {', '.join(told)} are not those that the run began with"


def _show(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
