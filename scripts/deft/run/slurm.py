"""What SLURM is asked for and about: the form of a GPU request, jobs by name, jobs by number.

The executor plugin gives all jobs of one Snakemake command one name, `<prefix>_<uuid>`, and writes
it to that command's log. Nothing else tells a run's jobs from another's.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from deft.core.errors import HardStop

NAME_LINE = re.compile(r"^SLURM run ID: (\S+)$", re.MULTILINE)
REQUESTS = re.compile(r"gpu|gres(:[A-Za-z0-9_.]+)?")
ENDED = frozenset(
    "COMPLETED FAILED CANCELLED TIMEOUT NODE_FAIL OUT_OF_MEMORY BOOT_FAIL DEADLINE REVOKED".split()
)
GONE_S = 300.0  # a node that does not answer holds its jobs in COMPLETING
POLL_S = 1.0
QUERY_S = 60.0


class Silent(RuntimeError):
    """SLURM does not answer, so nobody knows which jobs still write."""


def own_job() -> str | None:
    """Return the number of the SLURM job that this process is part of."""
    return os.environ.get("SLURM_JOB_ID")


def gpu_resources(count: int, request: str | None) -> tuple[int, str]:
    """Return the resources (`gpu`, `gres`) that ask for `count` GPUs.

    `request` is the profile's `gpu_request`: `gpu` (or none: not a cluster) counts in `gpu`, which
    Snakemake limits and the plugin passes as `--gpus`; `gres` or `gres:MODEL` becomes `--gres`.
    """
    if request is not None and not REQUESTS.fullmatch(str(request)):
        raise HardStop(
            "config_invalid",
            f"the profile's gpu_request is {request!r}",
            fix="gpu, gres or gres:MODEL, e.g. gres:a100",
        )
    if count == 0:
        return 0, ""
    if request is None or request == "gpu":
        return count, ""
    return 0, ":".join(["gpu", *str(request).split(":")[1:], str(count)])


def name_in_log(log: Path) -> str | None:
    """Return the name of the jobs of the command that wrote a Snakemake log."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    except OSError:
        return None
    found = NAME_LINE.search(text)
    return found.group(1) if found else None


def active(names: Iterable[str]) -> dict[str, str]:
    """Return number -> name of the own jobs of these names that may still write.

    Raises :class:`Silent`. A job that waits, is suspended or is completing counts.
    """
    wanted = set(names)
    lines = (
        line.split("|") for line in _ask("squeue", "-h", "--me", "--states=all", "-o", "%i|%j|%T")
    )
    return {number: name for number, name, state in lines if name in wanted and state not in ENDED}


def is_active(number: str) -> bool | None:
    """Return whether a job may still write; None when SLURM does not answer."""
    try:
        states = _ask("squeue", "-h", "--states=all", "-j", number, "-o", "%T")
    except Silent as error:
        return False if "Invalid job id" in str(error) else None
    return any(state not in ENDED for state in states)


def cancel(names: Iterable[str], *, gone_s: float = GONE_S) -> list[str]:
    """Cancel all jobs of these names and wait until they are gone; return their numbers.

    Raises :class:`Silent` when SLURM does not answer or a job will not go.
    """
    names = set(names)
    found = active(names) if names else {}
    if not found:
        return []
    _ask("scancel", *found)
    deadline = time.monotonic() + gone_s
    while left := active(names):
        if time.monotonic() > deadline:
            raise Silent(
                f"SLURM jobs {', '.join(left)} were cancelled {gone_s:.0f} s ago and remain"
            )
        time.sleep(POLL_S)
    return sorted(found, key=lambda number: [int(part) for part in re.findall(r"\d+", number)])


def _ask(*command: str) -> list[str]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=QUERY_S, check=True)
    except FileNotFoundError as error:
        raise Silent(f"there is no {command[0]} on this machine") from error
    except subprocess.TimeoutExpired as error:
        raise Silent(f"{command[0]} did not answer within {QUERY_S:.0f} s") from error
    except subprocess.CalledProcessError as error:
        raise Silent(f"{command[0]} failed: {error.stderr.strip()[-300:]}") from error
    return done.stdout.splitlines()
