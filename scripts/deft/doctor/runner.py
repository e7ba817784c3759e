"""Run every probe in a process of its own; one that hangs or dies costs its own row only."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deft.doctor.finding import BROKEN, Finding
from deft.doctor.probes import MARK, PROBES, Probe, Surroundings

SCRIPTS = Path(__file__).resolve().parents[2]
AT_ONCE = 4
SLOW_S = 2.0
COLLECT_S = 2.0  # a killed process on a dead disk may never be collected


def command(probe: Probe) -> list[str]:
    """Return the command line of a probe's process."""
    return [sys.executable, "-m", "deft.doctor.probes", probe.name]


def examine(
    around: Surroundings,
    probes: Sequence[Probe] = PROBES,
    *,
    start: Callable[[Probe], list[str]] = command,
    log: Callable[[str], None] = lambda text: None,
) -> list[Finding]:
    """Return the findings of all probes, in their order.

    ``start`` gives a probe's command line; ``log`` gets a line when a slow one is done.
    """

    def one(probe: Probe) -> list[Finding]:
        began = time.monotonic()
        found = _one(probe, around, start(probe))
        took_s = time.monotonic() - began
        if took_s > SLOW_S:
            log(f"{probe.name}: {took_s:.0f} s")
        return found

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [finding for found in pool.map(one, probes) for finding in found]


def _one(probe: Probe, around: Surroundings, line: list[str]) -> list[Finding]:
    paths = [str(SCRIPTS), os.environ.get("PYTHONPATH", "")]
    try:
        process = subprocess.Popen(
            line,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
            cwd="/",  # not below a workspace that may hang
            start_new_session=True,
        )
    except OSError as error:
        return [_lost(probe, f"could not be started: {error}")]
    try:
        out, errors = process.communicate(around.as_json(), timeout=probe.limit_s)
    except subprocess.TimeoutExpired:
        _end(process)
        return [_lost(probe, f"no answer in {probe.limit_s:g} s; cut off", probe.hang)]
    return _read(probe, process.returncode, out, errors)


def _end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=COLLECT_S)


def _read(probe: Probe, status: int, out: str, errors: str) -> list[Finding]:
    for line in reversed(out.splitlines()):
        if line.startswith(MARK):
            with contextlib.suppress(ValueError, TypeError):
                return [Finding(**row) for row in json.loads(line.removeprefix(MARK))]
    words = [line for line in errors.splitlines() if line.strip()]
    last = words[-1] if words else "it said nothing"
    how = f"signal {-status}" if status < 0 else f"status {status}"
    return [_lost(probe, f"the probe ended with {how}: {last}")]


def _lost(probe: Probe, why: str, state: str = BROKEN) -> Finding:
    return Finding(probe.name, state, why, probe.advice.replace("NAME", probe.name))
