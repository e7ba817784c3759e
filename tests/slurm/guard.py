"""Whether this machine may have a cluster of this suite: asked before anything is touched."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psutil

MARK = "deft_slurm_test"  # this file in a base folder says that it is ours, and which process's
OWN_CONFS = ("etc/slurm/slurm.conf", "etc/slurm/gres.conf")
CONFS = (*OWN_CONFS, "etc/slurm-llnl/slurm.conf", "usr/local/etc/slurm.conf")
DAEMONS = ("slurmctld", "slurmd", "slurmdbd", "slurmrestd", "sackd", "slurmstepd")
QUERY_S = 60


class Refused(RuntimeError):
    """This machine is not one to start a cluster on."""


def ours(conf: Path) -> Path | None:
    """Return the base folder of a cluster of this suite that a file of SLURM's is linked into."""
    if not conf.is_symlink():
        return None
    base = conf.parent / os.readlink(conf)
    return base.parent if (base.parent / MARK).is_file() else None


def owner(base: Path) -> int | None:
    """Return the living process that a cluster was started for; None when it may be taken over."""
    text = (base / MARK).read_text().strip()
    alive = text.isdigit() and int(text) != os.getpid() and psutil.pid_exists(int(text))
    return int(text) if alive else None


def daemons() -> dict[int, str]:
    """Return pid -> name of every SLURM daemon on this machine."""
    found = {p.pid: p.info["name"] for p in psutil.process_iter(["name"])}
    return {pid: name for pid, name in found.items() if name in DAEMONS}


def own_pids(base: Path) -> set[int]:
    """Return the ids in the pid files of a base folder."""
    texts = (p.read_text().strip() for p in (base / "run").glob("*.pid"))
    return {int(text) for text in texts if text.isdigit()}


def refusal(
    root: Path = Path("/"),
    *,
    running: Mapping[int, str] | None = None,
    answers: bool | None = None,
    environment: Mapping[str, str] = os.environ,
    user: str | None = None,
) -> str | None:
    """Return why no cluster may be started on this machine, or None. Reads only.

    Tests give `root`, the folder of the file system, `running`, pid -> name of SLURM's daemons, and
    whether a controller `answers`.
    """
    for name in ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JOB_ID"):
        if environment.get(name):
            return f"{name} is set: this machine belongs to a cluster"
    known = set()
    for path in (root / conf for conf in CONFS):
        if not os.path.lexists(path):
            continue
        base = ours(path)
        if base is None:
            return f"{path} is not this suite's: this machine has a SLURM of its own"
        if owner(base):
            return f"process {owner(base)} has a cluster on this machine, and there is room for one"
        known |= own_pids(base)
    # A node's stepd has no pid file; it is ours when its node is.
    foreign = {
        pid: name
        for pid, name in (daemons() if running is None else running).items()
        if pid not in known and not (name == "slurmstepd" and known)
    }
    if foreign:
        listed = ", ".join(f"{name} ({pid})" for pid, name in sorted(foreign.items()))
        return f"SLURM daemons that are not this suite's are running: {listed}"
    if not known and (bool(slurm("sinfo", "-h")) if answers is None else answers):
        return "a SLURM controller answers on this machine, and it is not this suite's"
    if (user or getpass.getuser()) != "root":
        return "starting a cluster needs root"
    return None


def slurm(*command: str) -> str:
    """Return the output of a SLURM command; '' when it fails."""
    if not shutil.which(command[0]):
        return ""
    done = subprocess.run(command, capture_output=True, text=True, timeout=QUERY_S)
    return done.stdout if done.returncode == 0 else ""
