"""History-aware mining: pictures that an earlier lap mined drop out of a lap's candidates.

The files are those of NVIDIA's current workflow, which reads and checks them: the candidates of a
lap before the history counted, its summary, and a ledger of all laps with a SHA-256 of each lap's
files. A picture is known by its path alone.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deft.core.commands import again
from deft.core.errors import HardStop
from deft.core.files import made_again, read_json, sha256_file, write_json_atomic
from deft.core.reading import check_shape
from deft.run.roots import rerooted_in

VERSION = 1
IDENTITY = "filepath"
ROOT = "deft_root"  # of the ledger: the workspace that its paths lie under
# Of a lap, beside its ledger: candidates, what was mined, summary.
BESIDE = ("mined_candidates.parquet", "mined.parquet", "mining_history_summary.json")
MANY = 0.5  # share of candidates that earlier laps mined from which a wider search is advised
ENTRY = {"iteration": int, "selected_filepaths": [str], "output_parquet": str}


@dataclass(frozen=True)
class LapFiles:
    """Files of a lap that the ledger speaks of, absolute."""

    candidates: Path
    mined: Path
    summary: Path


def identity(path: str) -> str:
    """Return the form in which paths are compared.

    >>> identity("images\\\\board/./a.png")
    'images/board/a.png'
    """
    return posixpath.normpath(path.strip().replace("\\", "/"))


def read_ledger(path: Path | None, root: Path, lap: int) -> list[dict[str, Any]]:
    """Return the entries of the laps before ``lap``, with their paths below the present workspace.

    Raises
    ------
    HardStop ``missing_input`` for a ledger that is damaged, or does not end with the lap before.
    """
    if path is None:
        entries: list[dict[str, Any]] = []
    else:
        ledger = read_json(path, {"version": int, "iterations": list})
        entries = rerooted_in(ledger["iterations"], str(ledger.get(ROOT, "")), str(root))
        problem = next(filter(None, (check_shape(entry, ENTRY) for entry in entries)), "")
        if problem:
            raise HardStop("missing_input", problem, file=path, fix=made_again(path))
    laps = [entry["iteration"] for entry in entries]
    if laps != list(range(1, lap)):
        raise HardStop(
            "missing_input",
            f"the mining history holds the laps {laps}, and lap {lap} needs 1 to {lap - 1}",
            file=path,
            fix="mining_history holds for all laps of a run: set it as the first lap had it, or "
            f"begin a run with it: {again('preflight', run='new', mining_history=True)}",
        )
    return entries


def known_paths(entries: Iterable[dict[str, Any]]) -> set[str]:
    """Return the pictures that the laps of a ledger mined."""
    return {path for entry in entries for path in entry["selected_filepaths"]}


def novel(paths: list[str], entries: list[dict[str, Any]]) -> tuple[list[int], dict[str, int]]:
    """Return which candidates are new (positions, ascending) and the counts behind it."""
    known = known_paths(entries)
    seen: set[str] = set()
    chosen: list[int] = []
    for at, path in enumerate(map(identity, paths)):
        if path not in seen and path not in known:
            chosen.append(at)
        seen.add(path)
    counts = {
        "candidate_row_count": len(paths),
        "candidate_unique_count": len(seen),
        "candidate_duplicate_count": len(paths) - len(seen),
        "history_count_before": len(known),
        "already_mined_count": len(seen & known),
        "selected_count": len(chosen),
        "cumulative_unique_count": len(known) + len(chosen),
    }
    return chosen, counts


def advice(counts: dict[str, int]) -> str | None:
    """Return what to do when most candidates are known, else None."""
    found, known = counts["candidate_unique_count"], counts["already_mined_count"]
    wider = "raise top_k_per_target or add pool rows"
    if found and not counts["selected_count"]:
        return f"earlier laps mined all {found} candidates: {wider}"
    if found and known / found >= MANY:
        return f"earlier laps mined {known} of {found} candidates: {wider}"
    return None


def write_history(
    ledger: Path,
    published: Path,
    files: LapFiles,
    entries: list[dict[str, Any]],
    paths: list[str],
    counts: dict[str, int],
    *,
    lap: int,
    top_k: int,
    root: Path,
) -> None:
    """Write a lap's summary, and the ledger up to this lap, which is published for the run.

    ``paths``: of the pictures that the lap mined. What the published ledger holds of later laps
    stays where this lap's entry is what it was.
    """
    share = counts["already_mined_count"] / max(1, counts["candidate_unique_count"])
    of_files: dict[str, Any] = {
        "candidate_parquet": str(files.candidates),
        "candidate_sha256": sha256_file(files.candidates),
        "output_parquet": str(files.mined),
        "output_sha256": sha256_file(files.mined),
    }
    summary = {
        "version": VERSION,
        "iteration": lap,
        "identity": IDENTITY,
        "topn": top_k,
        **counts,
        **of_files,
        "historical_candidate_rate": share,
        "recommendation": advice(counts),
    }
    write_json_atomic(files.summary, summary)
    counted = ("candidate_unique_count", "already_mined_count", "selected_count")
    entry = {
        "iteration": lap,
        "topn": top_k,
        **{name: counts[name] for name in counted},
        **of_files,
        "selected_filepaths": [identity(path) for path in paths],
        "summary_file": str(files.summary),
        "summary_sha256": sha256_file(files.summary),
    }
    upto = [*entries, entry]
    write_json_atomic(ledger, _ledger(upto, root))
    later: list[dict[str, Any]] = []
    if published.is_file():
        try:
            kept = read_json(published, {"iterations": list})
            before = rerooted_in(kept["iterations"], str(kept.get(ROOT, "")), str(root))
            later = before[lap:] if before[:lap] == upto else []
        except HardStop:  # damaged: the laps' own ledgers are what counts
            later = []
    write_json_atomic(published, _ledger([*upto, *later], root))


def _ledger(entries: list[dict[str, Any]], root: Path) -> dict[str, Any]:
    return {
        "version": VERSION,
        "identity": IDENTITY,
        "iterations": entries,
        "cumulative_unique_count": len(known_paths(entries)),
        ROOT: str(root),
    }
