"""How a command-line stage begins and ends: hard stops, markers, log line, exit status."""

from __future__ import annotations

import io
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from deft.core import disk
from deft.core.collecting import collect_seldom
from deft.core.disk import DiskFull
from deft.core.durations import short_duration
from deft.core.errors import HardStop, StageFailed
from deft.core.files import sweep, write_json_atomic
from deft.core.interrupt import Interrupted
from deft.core.reading import read_json, set_aside, stop_of
from deft.run.jobs import AlreadyRunning, registered
from deft.run.leaving import leave
from deft.run.state import log_stage, record_hard_stop
from deft.run.state_format import MARKER_DIR
from deft.settings.session import BRIEF, inherited

EXIT_STOP, EXIT_UNEXPECTED, EXIT_MEMORY = 1, 2, 137
GPU_MEMORY_ERROR = "OutOfMemoryError"  # torch's
GPU_MEMORY_ADVICE = (
    "lower dataset.classify.batch_size, or raise accumulate_steps; for embedding lower "
    "embed_batch_size"
)


def main(body: Callable[[], int | None]) -> NoReturn:
    """Run ``body`` and exit; a hard stop or an unforeseen error is a message, not a traceback.

    What is printed appears line by line, in a pipe or a file too, where Python would keep back
    eight kilobytes. The traceback of an unforeseen error goes to the file named by
    ``DEFT_TRACEBACK`` (or, with ``DEFT_DEBUG`` set, to stderr), so that a bug can be reported.
    Nothing that is written on the way out (a log, a note, the traceback) can hide the message: on
    a full disk none of it may succeed.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # no test's stand-in
            # A name that is no UTF-8 must not end the message that speaks of it.
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    collect_seldom()
    leave(_status_of(body))


def _status_of(body: Callable[[], int | None]) -> int:
    try:
        return body() or 0
    except HardStop as stop:
        return _told_stop(stop)
    except Interrupted as stop:  # no hard stop: a scheduler may start the stage again
        _tell(stop.text())
        return stop.status
    except KeyboardInterrupt:
        _tell("interrupted")
        return 130
    except AlreadyRunning as error:
        _tell(str(error))
        return EXIT_STOP
    except DiskFull as full:
        return _told_full(full)
    except StageFailed as error:
        _tell(str(error))
        return error.status
    except MemoryError:
        _tell("out of memory: ask for more (mem_mb) or lower the batch size")
        return EXIT_MEMORY
    except Exception as error:  # a bug or the machine: say so in one line, keep the details
        if _is_gpu_memory(error):
            _tell(f"out of GPU memory: {GPU_MEMORY_ADVICE}\n({error})")
            return EXIT_MEMORY  # as when the machine's own memory runs out: it may be tried again
        cause = disk.explain(error)
        if cause is not None:
            return _told_full(cause)
        _keep_traceback()
        told = stop_of(error) if isinstance(error, OSError) else None
        if told is not None:
            return _told_stop(told)
        _tell(f"unexpected {type(error).__name__}: {error}")
        return EXIT_UNEXPECTED


def _told_stop(stop: HardStop) -> int:
    text = f"HARD STOP {stop.text()}"
    _tell_at_the_end(text)
    return EXIT_STOP


def _told_full(full: DiskFull) -> int:
    _tell_at_the_end(str(full))
    return full.status


def _tell_at_the_end(text: str) -> None:
    """Say it now too, unless the terminal is brief: it would be the same line twice."""
    if keep_for_the_end(text) and inherited(BRIEF):
        note = getattr(sys.stderr, "note", None)  # a stage's, that has a log
        if note is not None:
            note(f"\n{text}\n")
    else:
        _tell(text)


def _tell(text: str) -> None:
    with suppress(OSError, ValueError):  # stderr may lie on the full disk too
        print(f"\n{text}", file=sys.stderr, flush=True)


def _is_gpu_memory(error: Exception) -> bool:
    # By name: torch is not imported here. A training process's death is told in a text.
    return type(error).__name__ == GPU_MEMORY_ERROR or f"{GPU_MEMORY_ERROR}: " in str(error)


def keep_for_the_end(text: str) -> bool:
    """Have a text said again when the command has ended; return whether it will be."""
    target = os.environ.get("DEFT_LAST_STOP")
    with suppress(OSError):  # it is said now
        if target and Path(target).parent.is_dir():
            Path(target).write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
            return True
    return False


def take_last_stop() -> str:
    """Return and forget the text of the last hard stop of this command."""
    target = Path(os.environ.get("DEFT_LAST_STOP", ""))
    try:
        text = target.read_text(encoding="utf-8", errors="replace") if target.is_file() else ""
        target.unlink(missing_ok=True)
    except OSError:
        return ""
    return text


def _keep_traceback() -> None:
    target = os.environ.get("DEFT_TRACEBACK")
    if not target:
        with suppress(OSError, ValueError):
            traceback.print_exc()
        return
    with suppress(OSError, ValueError):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).write_text(traceback.format_exc(), encoding="utf-8", errors="backslashreplace")
        print(f"details: {target}", file=sys.stderr)


def run_stage(
    run_dir: str | Path,
    phase: str,
    stage: str,
    work: Callable[[], str],
    *,
    attempt: int = 1,
    next_stage: str = "",
    max_iterations: int | None = None,
) -> None:
    """Run ``work`` as one logged stage of the loop.

    ``work`` returns the log line's summary. A hard stop is recorded once: it leaves a marker, and
    a scheduler's second attempt raises it again at once without another log line.
    """
    run_dir = Path(run_dir)
    marker = run_dir / MARKER_DIR / f"{phase}_{stage}.json"
    _raise_again(marker, attempt)
    started = time.monotonic()
    with _recording(run_dir, phase, stage, marker), registered(run_dir, phase, stage):
        sweep(run_dir)
        sweep(run_dir / phase)
        summary = work()
    duration = time.monotonic() - started
    log_stage(run_dir, phase, stage, summary, duration_s=duration)
    print(status_line(phase, stage, summary, duration, next_stage, max_iterations), flush=True)


@contextmanager
def hard_stop_recorded(
    run_dir: str | Path, phase: str, stage: str, *, attempt: int = 1, job: str = ""
) -> Iterator[None]:
    """Record a hard stop of work that has no log line of its own; later attempts add none.

    ``job``: name of the work, where several have the same ``phase`` and ``stage``; a later attempt
    of a job with a name raises its stop again at once.
    """
    marker = Path(run_dir) / MARKER_DIR / f"{job}.json" if job else None
    if marker is not None:
        _raise_again(marker, attempt)
    with _recording(Path(run_dir), phase, stage, marker, log=attempt == 1):
        yield


def _raise_again(marker: Path, attempt: int) -> None:
    """Raise the stop of an earlier attempt; a first attempt forgets it."""
    if not os.path.lexists(marker):
        return
    if attempt > 1:
        try:
            stop = HardStop.from_dict(read_json(marker))
        except (HardStop, ValueError) as error:  # cut off: the work will stop again by itself
            set_aside(marker, " ".join(str(error).split()))
            return
        raise stop
    marker.unlink()


@contextmanager
def _recording(
    run_dir: Path, phase: str, stage: str, marker: Path | None, *, log: bool = True
) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        stop = error if isinstance(error, HardStop) else None
        if stop is None and isinstance(error, OSError):
            stop = stop_of(error)
            if stop is not None:
                _keep_traceback()
        if stop is None:
            raise
        write_down(run_dir, phase, stage, stop, marker=marker, log=log)
        if stop is error:
            raise
        raise stop from error


def write_down(
    run_dir: Path,
    phase: str,
    stage: str,
    stop: HardStop,
    *,
    marker: Path | None = None,
    log: bool = True,
) -> None:
    """Write a stop down; what cannot be written must not hide it, and is said beside it."""
    try:
        if marker is not None:
            write_json_atomic(marker, stop.as_dict())
        if log:
            record_hard_stop(run_dir, phase, stage, stop)
    except Exception as error:
        full = disk.explain(error)
        _tell(f"the stop below could not be written down: {full or error}")


def status_line(
    phase: str,
    stage: str,
    summary: str,
    duration_s: float,
    next_stage: str = "",
    max_iterations: int | None = None,
) -> str:
    """Return the contract's terminal line, e.g. ``[iter 2/3 · evaluate] … · 2m · next: rca``."""
    where = phase
    if phase.startswith("iter") and phase[4:].isdigit():
        where = f"iter {phase[4:]}" + (f"/{max_iterations}" if max_iterations else "")
    tail = f" · next: {next_stage}" if next_stage else ""
    return f"[{where} · {stage}] {summary} · {short_duration(duration_s)}{tail}"
