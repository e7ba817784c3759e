"""``manifest.json``, ``summary.json`` and ``analysis.json``: the record of one run.

The standard library alone, and no import of the pipeline: `dl_lab_scaffold.py` copies this folder
into new projects, and the pipeline's own record is made with the same functions.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 1
NAMES = ("analysis", "summary", "manifest")
TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
GIT_TIMEOUT_S = 20
BLOCK_BYTES = 1 << 20
CREDENTIAL = re.compile(
    r"([\w-]*(?:token|api_?key|ngc_key|secret|passw|credential)[\w-]*[\"']?)(=|:\s*|\s+)(\S+)",
    re.IGNORECASE,
)
USER_OF_URL = re.compile(r"(?<=://)[^/\s\"']*@")
# A repository of somebody else may name a program that `git status` would start; and it may be at
# work: without the first option `git status` locks its index, and a killed one leaves the lock.
GIT = ("git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")


class RecordError(ValueError):
    """A record that must not be written, with the reason for a person."""


@dataclass(frozen=True)
class Data:
    """One data set: where it came from stands in ``notes``, with the split's logic."""

    name: str
    path: Path
    rows: int | None
    notes: str


@dataclass(frozen=True)
class Metric:
    """A headline number and what it means."""

    value: float
    definition: str
    unit: str
    higher_is_better: bool | None


@dataclass
class Outcome:
    """What a training leaves behind for its record.

    ``results`` holds every number that a text may quote, by a flat key; ``history`` one entry a
    phase (a baseline, an arm, an epoch).
    """

    data: list[Data]
    metrics: dict[str, Metric]
    primary: str
    results: dict[str, float]
    history: list[dict[str, Any]]
    weights: Path
    selected_by: str
    epoch: int | None
    outputs: list[Path] = field(default_factory=list)


def write_record(
    folder: Path,
    outcome: Outcome,
    *,
    tag: str,
    project_root: Path,
    command: str,
    seed: int,
    config: Mapping[str, Any],
    inputs: Iterable[Path] = (),
    packages: Iterable[str] = (),
    duration_seconds: float,
) -> Path:
    """Write the three files into ``folder``, each whole; the manifest last, as the sign of the end.

    Raises
    ------
    RecordError when a number is not finite, there is none to quote, or the primary metric or a
    definition is missing.
    """
    if not outcome.results:
        raise RecordError("results is empty: a text could quote nothing of this run")
    metrics = {name: m.value for name, m in outcome.metrics.items()}
    for name, metric in outcome.metrics.items():
        if not metric.definition.strip():
            raise RecordError(f"the metric {name!r} has no definition")
    if outcome.primary not in metrics:
        raise RecordError(f"the primary metric {outcome.primary!r} is none of {sorted(metrics)}")
    analysis = {
        "schema_version": SCHEMA_VERSION,
        "tag": tag,
        "results": outcome.results,
        "history": outcome.history,
    }
    summary = {
        "schema_version": SCHEMA_VERSION,
        "tag": tag,
        "primary_metric": outcome.primary,
        "metrics": metrics,
        "metric_definitions": {
            name: {
                "definition": m.definition,
                "unit": m.unit,
                "higher_is_better": m.higher_is_better,
            }
            for name, m in outcome.metrics.items()
        },
        "best_checkpoint": {
            "path": relative(outcome.weights, project_root),
            "selected_by": outcome.selected_by,
            "epoch": outcome.epoch,
            "sha256": sha256_of(outcome.weights),
        },
    }
    write_json(folder / "analysis.json", analysis)
    write_json(folder / "summary.json", summary)
    written = [folder / "analysis.json", folder / "summary.json"]
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "tag": tag,
        "code": {"git": git_state(project_root), "version": None},
        "environment": environment(packages),
        "data": [
            {
                "name": d.name,
                "path": relative(d.path, project_root),
                "sha256": sha256_of(d.path),
                "rows": d.rows,
                "notes": d.notes,
            }
            for d in outcome.data
        ],
        "hyperparameters": {"seed": seed, "config": dict(config)},
        "inputs": file_entries([*inputs, *(d.path for d in outcome.data)], project_root),
        "outputs": file_entries([outcome.weights, *outcome.outputs, *written], project_root),
        "paths_are_relative_to": "project_root",
        "run": {
            "command": without_credentials(command),
            "run_dir": relative(folder, project_root),
            "duration_seconds": duration_seconds,
        },
    }
    write_json(folder / "manifest.json", manifest)
    return folder


def checked_tag(tag: str) -> str:
    """Return a tag that is safe as a folder's name, or raise ``RecordError``."""
    if not TAG.fullmatch(tag):
        raise RecordError(f"the tag {tag!r} may hold letters, digits, '.', '_' and '-' only")
    return tag


def write_json(path: Path, content: Any) -> Path:
    """Write JSON with sorted keys, whole or not at all; a number that is not finite is refused."""
    try:
        text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise RecordError(f"{path.name} would hold a number that is not finite") from error
    return write_text(path, text + "\n")


def write_text(path: Path, text: str) -> Path:
    """Write UTF-8 text, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, hexadecimal."""
    found = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(BLOCK_BYTES):
            found.update(block)
    return found.hexdigest()


def git_state(code_dir: str | Path) -> dict[str, Any]:
    """Return ``commit, branch, is_dirty`` of the code; null each where git has no answer."""

    def ask(*question: str) -> str | None:
        try:
            done = subprocess.run(
                [*GIT, "-C", str(code_dir), *question],
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


def environment(
    packages: Iterable[str], devices: Iterable[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """Return Python, platform, versions of those ``packages`` that are installed, and devices.

    ``devices`` come beside the CPU. No environment variables: they may hold credentials.
    """
    versions = {}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions,
        "devices": [{"kind": "cpu", "count": os.cpu_count()}, *map(dict, devices)],
    }


def without_credentials(command: str) -> str:
    """Return a command line with the values of credentials taken out, also those in addresses.

    >>> without_credentials("snakemake --config hf_token=abc seed=1")
    'snakemake --config hf_token=*** seed=1'
    >>> without_credentials("pip install --index-url https://me:abc@host/simple")
    'pip install --index-url https://***@host/simple'
    """
    return CREDENTIAL.sub(r"\1\2***", USER_OF_URL.sub("***@", command))


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
            "sha256": sha256_of(path),
            "bytes": path.stat().st_size,
        }
        for path in paths
        if path.is_file()
    }
    return [entries[name] for name in sorted(entries)]
