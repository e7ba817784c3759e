"""The ledger of the sealed acceptance set: each time that it was opened, and what was promoted.

A set that chose nothing proves most the first time; each further opening lets its parts speak
again. So every scoring of it is written down before its outcome is, workspace-wide, in
``knowledge_base/decisions/acceptance.json``; nothing takes an entry away.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from deft.core.commands import again
from deft.core.errors import HardStop
from deft.core.files import read_json, write_json_atomic
from deft.core.places import KNOWLEDGE
from deft.core.reading import check_shape
from deft.kpi.promotion import PROMOTE
from deft.settings.run_name import check_run_name

LEDGER_FILE = f"{KNOWLEDGE}/decisions/acceptance.json"
ENTRY = {
    "opening": int,
    "at": str,
    "run": str,
    "phase": str,
    "set_sha256": str,
    "parts": [str],
    "weights_sha256": str,
    "threshold": (int, float),
    "outcome": str,
    "champion": str,
}
EXPORT = {
    "weights_sha256": str,
    "parity": {"at_safe_threshold": {"threshold": (int, float)}},
}
PART_DIGITS = 16


def read_openings(workspace: str | Path) -> list[dict[str, Any]]:
    """Return the openings, oldest first.

    Raises HardStop ``missing_input`` for a ledger that is damaged: openings must not be forgotten.
    """
    path = Path(workspace) / LEDGER_FILE
    if not path.exists():
        return []
    found: dict[str, Any] = read_json(path, {"openings": [ENTRY]})
    openings: list[dict[str, Any]] = found["openings"]
    numbers = [one["opening"] for one in openings]
    if numbers != list(range(1, len(openings) + 1)):
        raise HardStop(
            "missing_input",
            f"the openings of the acceptance set are numbered {numbers[:10]}",
            file=path,
            fix="restore the file: each opening is an entry, 1, 2, 3, …, and none goes",
        )
    return openings


def add_opening(workspace: str | Path, entry: Mapping[str, Any]) -> int:
    """Append an opening; return its number, the next one."""
    openings = read_openings(workspace)
    told = {**entry, "opening": len(openings) + 1}
    problem = check_shape(told, ENTRY)
    if problem:
        raise ValueError(problem)
    content = {"schema_version": 1, "openings": [*openings, told]}
    write_json_atomic(Path(workspace) / LEDGER_FILE, content)
    return int(told["opening"])


def part_digests(parts: Iterable[tuple[str, str]]) -> list[str]:
    """Return a short digest of each part, (input_path, object_name) relative to the workspace."""
    return [
        hashlib.sha256("\t".join(part).encode("utf-8", "surrogateescape")).hexdigest()[:PART_DIGITS]
        for part in parts
    ]


def seen_before(openings: Iterable[Mapping[str, Any]], parts: Iterable[str]) -> int:
    """Return how many parts an earlier opening already had."""
    known = {part for one in openings for part in one["parts"]}
    return sum(part in known for part in parts)


def last_promoted(workspace: str | Path, *, other_than: str = "") -> dict[str, Any] | None:
    """Return the opening that promoted last, of another run than ``other_than``; None: none did."""
    found = [
        one
        for one in read_openings(workspace)
        if one["outcome"] == PROMOTE and one["run"] != other_than
    ]
    return found[-1] if found else None


def best_model_of(workspace: str | Path, opening: Mapping[str, Any]) -> Path:
    """Return the ``best_model/`` folder that an opening judged, checked to be the one of then.

    Raises HardStop ``missing_input`` where it is gone, or has other weights or another threshold.
    """
    file = Path(workspace) / LEDGER_FILE
    run = check_run_name(opening["run"], source="an opening", file=file)
    folder = Path(workspace) / "results" / run / "best_model"
    record, problem = folder / "export.json", "is gone"
    if record.is_file():
        told = read_json(record, EXPORT)
        now = told["weights_sha256"], told["parity"]["at_safe_threshold"]["threshold"]
        if now == (opening["weights_sha256"], opening["threshold"]):
            return folder
        other = [opening["weights_sha256"] != now[0], opening["threshold"] != now[1]]
        what = [n for n, o in zip(("other weights", "another threshold"), other, strict=True) if o]
        problem = f"has {' and '.join(what)} since it was promoted"
    raise HardStop(
        "missing_input",
        f"the model promoted last ({opening['run']}, {opening['phase']}) {problem}",
        file=record,
        fix="restore the run's folder, or name the model in production: "
        + again(champion="FOLDER"),
    )
