"""The report while the run works: what is being done, how far it is, since when nothing is written.

A process beside Snakemake renders it (:func:`watch`). It reads the run's files and writes
``DEFT_Loop_Report.html`` alone, which is nobody's declared output: no stage waits for it or fails
with it.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deft.core.durations import short_duration
from deft.core.layout import Run
from deft.record.run_files import RunFiles
from deft.run.jobs import JOBS_DIR
from deft.run.state import LOG_FILE, STAGES, STATE_FILE

POLL_S = 1.0
EVERY_S = 30.0  # a page of a long stage, which shows its progress
PAUSE = 2  # a rendering is followed by a pause of so many times its duration
STALE_S = 180  # a page that is older is told to be stale by itself
TAIL_BYTES, LINE_CHARACTERS = 4096, 160
LAP = STAGES[1:-1]  # in the log's order: train, inference, evaluate, rca, …, data_merge


def live_view(files: RunFiles) -> dict[str, Any] | None:
    """Return what the page says of the work that is under way, None when the run has ended."""
    if not files.running:
        return None
    run, now = files.run, time.time()
    stages = [_stage(path, now) for path in sorted((run.dir / JOBS_DIR).glob("*.json"))]
    found = [stage for stage in stages if stage]
    return {
        "written_s": int(now),
        "written": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "stale_s": STALE_S,
        "stages": [stage["told"] for stage in found],
        "progress": _last_line(run.dir / "logs"),
        "left": _left(files.log, found),
    }


def _stage(note: Path, now: float) -> dict[str, Any] | None:
    """Return phase, stage and seconds so far of the stage whose note this is, if it is there."""
    phase, _, stage = note.stem.partition("_")
    with suppress(OSError):
        seconds = max(0.0, now - note.stat().st_mtime)
        told = f"{phase} · {stage}, for {short_duration(seconds)}"
        return {"phase": phase, "stage": stage, "seconds": seconds, "told": told}
    return None


def _last_line(logs: Path) -> str:
    """Return the last line of the log that was written last: an epoch, a number of pictures."""
    newest, line = 0.0, ""
    for path in logs.glob("*.log"):
        with suppress(OSError):
            written = path.stat().st_mtime
            if written > newest and not path.name.endswith(("report.log", "summary.log")):
                said = _tail(path)
                newest, line = (written, said) if said else (newest, line)
    return line[:LINE_CHARACTERS]


def _tail(path: Path) -> str:
    with path.open("rb") as handle:
        handle.seek(max(0, path.stat().st_size - TAIL_BYTES))
        lines = handle.read().decode("utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _left(log: list[dict[str, Any]], found: list[dict[str, Any]]) -> str:
    """Return how long the rest of the lap takes, judged by the laps before; "" when none was."""
    known: dict[str, list[float]] = {}
    for entry in log:
        seconds = entry.get("duration_sec")
        if entry.get("status") == "ok" and isinstance(seconds, int | float):
            known.setdefault(str(entry.get("stage")), []).append(float(seconds))
    at = next((stage for stage in found if stage["stage"] in LAP and stage["stage"] in known), None)
    if at is None or "train" not in known:
        return ""
    # A decision follows an evaluation; what follows a decision leads to the next one.
    order = [*LAP[3:], *LAP[:3]]
    rest = order[order.index(at["stage"]) + 1 :]
    seconds = max(0.0, statistics.median(known[at["stage"]]) - at["seconds"])
    seconds += sum(statistics.median(known[stage]) for stage in rest if stage in known)
    return short_duration(seconds)


def watch(
    run: Run, render: Callable[[Callable[[], bool]], object], wanted: Callable[[], bool]
) -> None:
    """Render after each stage and now and then within a long one, until nobody works any more.

    Parameters
    ----------
    render: writes the page, unless what it is given says that the run has ended meanwhile.
    wanted: whether the command still works.
    """
    seen: object = None
    rendered, took = 0.0, 0.0
    while wanted():
        now = time.monotonic()
        state = _state(run)
        due = state != seen or now - rendered >= EVERY_S
        if due and state != (None, None) and now - rendered >= PAUSE * took:
            with suppress(Exception):  # the next one may succeed, and the last is a stage's own
                render(_not_over_since(run, state[0]))
            seen, rendered = state, time.monotonic()
            took = rendered - now
        time.sleep(POLL_S)


def _not_over_since(run: Run, size: object) -> Callable[[], bool]:
    """Return what tells whether a page still holds: a page of the end is never replaced by it."""

    def still() -> bool:
        log = run.dir / LOG_FILE
        return _state(run)[0] == size or '"loop_stop"' not in _tail(log)

    return still


def _state(run: Run) -> tuple[object, object]:
    """Return what changes with every stage: the log's size, and the notes of who works."""
    log = run.dir / LOG_FILE
    try:
        size = log.stat().st_size
    except OSError:
        return None, None
    with suppress(OSError):
        names = sorted(os.listdir(run.dir / JOBS_DIR))
        return size, tuple(name for name in names if name.endswith(".json"))
    return size, (run.dir / STATE_FILE).exists()
