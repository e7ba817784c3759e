"""How a command-line stage begins and ends: hard stops, markers, log line, exit status."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deft.errors import HardStop, StageFailed
from deft.files import read_json, write_json_atomic
from deft.interrupt import Interrupted
from deft.jobs import AlreadyRunning, registered
from deft.state import log_stage, record_hard_stop

EXIT_STOP = 1
GPU_MEMORY_ERROR = "OutOfMemoryError"  # torch's
GPU_MEMORY_ADVICE = (
    "lower dataset.classify.batch_size, or raise accumulate_steps; for embedding lower "
    "embed_batch_size"
)
MARKER_DIR = "hard_stops"


def main(body: Callable[[], int | None]) -> None:
    """Run ``body`` and exit; a hard stop or an unforeseen error is a message, not a traceback.

    What is printed appears line by line, in a pipe or a file too, where Python would keep back
    eight kilobytes. The traceback of an unforeseen error goes to the file named by
    ``DEFT_TRACEBACK`` (or, with ``DEFT_DEBUG`` set, to stderr), so that a bug can be reported.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # a test's stand-in
            stream.reconfigure(line_buffering=True)
    try:
        status = body() or 0
    except HardStop as stop:
        text = f"HARD STOP {stop.text()}"
        print(f"\n{text}", file=sys.stderr, flush=True)
        keep_for_the_end(text)
        status = EXIT_STOP
    except Interrupted as stop:  # no hard stop: a scheduler may start the stage again
        print(f"\n{stop.text()}", file=sys.stderr, flush=True)
        status = stop.status
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        status = 130
    except AlreadyRunning as error:
        print(f"\n{error}", file=sys.stderr, flush=True)
        status = EXIT_STOP
    except StageFailed as error:
        print(f"\n{error}", file=sys.stderr, flush=True)
        status = error.status
    except MemoryError:
        print("\nout of memory: ask for more (mem_mb) or lower the batch size", file=sys.stderr)
        status = 137
    except Exception as error:  # a bug or the machine: say so in one line, keep the details
        if _is_gpu_memory(error):
            print(f"\nout of GPU memory: {GPU_MEMORY_ADVICE}\n({error})", file=sys.stderr)
            sys.exit(137)  # as when the machine's own memory runs out: it may be tried again
        _keep_traceback()
        print(f"\nunexpected {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        status = 2
    sys.exit(status)


def _is_gpu_memory(error: Exception) -> bool:
    # By name: torch is not imported here. A training process's death is told in a text.
    return type(error).__name__ == GPU_MEMORY_ERROR or f"{GPU_MEMORY_ERROR}: " in str(error)


def keep_for_the_end(text: str) -> None:
    """Have a text said again below the page that Snakemake prints after a failed job."""
    target = os.environ.get("DEFT_LAST_STOP")
    if target and Path(target).parent.is_dir():
        Path(target).write_text(text + "\n", encoding="utf-8")


def take_last_stop() -> str:
    """Return and forget the text of the last hard stop of this command."""
    target = Path(os.environ.get("DEFT_LAST_STOP", ""))
    if not target.is_file():
        return ""
    text = target.read_text(encoding="utf-8")
    target.unlink()
    return text


def _keep_traceback() -> None:
    target = os.environ.get("DEFT_TRACEBACK")
    if target:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).write_text(traceback.format_exc(), encoding="utf-8")
        print(f"details: {target}", file=sys.stderr)
    else:
        traceback.print_exc()


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
    if marker.exists():
        if attempt > 1:
            raise HardStop.from_dict(read_json(marker))
        marker.unlink()
    started = time.monotonic()
    try:
        with registered(run_dir, phase, stage):
            summary = work()
    except HardStop as stop:
        write_json_atomic(marker, stop.as_dict())
        record_hard_stop(run_dir, phase, stage, stop)
        raise
    duration = time.monotonic() - started
    log_stage(run_dir, phase, stage, summary, duration_s=duration)
    print(status_line(phase, stage, summary, duration, next_stage, max_iterations), flush=True)


@contextmanager
def hard_stop_recorded(
    run_dir: str | Path, phase: str, stage: str, *, attempt: int = 1
) -> Iterator[None]:
    """Record a hard stop of work that has no log line of its own; later attempts add none."""
    try:
        yield
    except HardStop as stop:
        if attempt == 1:
            record_hard_stop(Path(run_dir), phase, stage, stop)
        raise


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


def short_duration(seconds: float) -> str:
    """Return ``42s``, ``2m`` or ``1h05m``."""
    if seconds < 60:
        return f"{seconds:.0f}s"
    minutes = int(seconds // 60)
    return f"{minutes}m" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"
