"""Memory, limits, disks, locks and threads: facts in, a finding out. Sizes are bytes."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from deft.doctor.finding import Finding, broken, ok, warn

GIB = 1 << 30
MIB = 1 << 20
SHM_LOW, SHM_NONE = GIB, 16 * MIB  # a container's default is 64 MiB
FILES_LOW, FILES_NONE = 1024, 256
PROCESSES_LOW, PROCESSES_NONE = 1024, 256  # threads count
LOCKED_LOW = 64 * MIB
INODES_LOW, INODES_NONE = 50_000, 1_000  # a staged pool is a file per picture
# Free GiB below which a folder is low, or of no use.
DISK_BOUNDS = {"workspace": (10.0, 0.5), "temp": (1.0, 0.05)}
NETWORK = {
    "nfs", "nfs4", "lustre", "gpfs", "beegfs", "beegfs_nodev", "ceph", "fuse.ceph", "afs",
    "orangefs", "glusterfs", "fuse.glusterfs", "panfs", "wekafs", "fuse.juicefs",
}  # fmt: skip
WEAK = {
    "cifs",
    "smb3",
    "smbfs",
    "fuse.sshfs",
    "9p",
    "fuse.s3fs",
    "fuse.gcsfuse",
    "fuse.rclone",
    "drvfs",
}
SPIN_MAX = 1_000_000


def shared_memory(total: int | None, free: int | None, error: str = "") -> Finding:
    """Judge ``/dev/shm``. GPUs of one training and TAO's loaders talk through it."""
    what = "shared memory"
    more = "docker run --shm-size=8g (or --ipc=host); elsewhere: mount -o remount,size=8G /dev/shm"
    if total is None or free is None:
        return broken(what, f"/dev/shm cannot be used: {error}", "mount a tmpfs on /dev/shm")
    text = f"/dev/shm {size(total)}, {size(free)} free"
    if error:
        return broken(
            what, f"{text}, and cannot be written: {error}", "mount it writable (mode 1777)"
        )
    if free < SHM_NONE:
        return broken(what, text, more)
    return warn(what, text, more) if total < SHM_LOW else ok(what, text)


def limits(open_files: float, locked_bytes: float, processes: float, gpus: int) -> Finding:
    """Judge the soft limits of this process; ``inf`` is none."""
    what = "limits"
    text = (
        f"open files {_count(open_files)}, processes {_count(processes)}, "
        f"locked memory {'no limit' if math.isinf(locked_bytes) else size(int(locked_bytes))}"
    )
    if open_files < FILES_NONE or processes < PROCESSES_NONE:
        which = "-n 4096" if open_files < FILES_NONE else "-u 4096"
        return broken(what, text, f"ulimit {which}, or /etc/security/limits.conf")
    if open_files < FILES_LOW:
        return warn(what, text, "ulimit -n 4096, or /etc/security/limits.conf")
    if processes < PROCESSES_LOW:
        return warn(what, text, "ulimit -u 4096: threads count as processes")
    if gpus > 1 and locked_bytes < LOCKED_LOW:
        return warn(what, text, "ulimit -l unlimited: GPUs that talk over InfiniBand lock memory")
    return ok(what, text)


def disk(name: str, path: str, free_bytes: int, inodes: int, inodes_free: int) -> Finding:
    """Judge a folder's disk. ``inodes`` is 0 where the file system does not count them."""
    what, (low, none) = f"disk, {name}", DISK_BOUNDS[name]
    free_gib = free_bytes / GIB
    text = f"{path}: {size(free_bytes)} free"
    if inodes:
        text += f", {inodes_free:,} free inodes"
    elsewhere = (
        "set TMPDIR to a larger disk" if name == "temp" else "free some, or move the workspace"
    )
    if free_gib < none or (inodes and inodes_free < INODES_NONE):
        return broken(what, text, elsewhere)
    if free_gib < low:
        return warn(what, text, elsewhere)
    if inodes and inodes_free < INODES_LOW:
        return warn(what, text, "few files fit here: the staged pool needs one a picture")
    return ok(what, text)


def locks(path: str, tried: Mapping[str, str]) -> Finding:
    """Judge file locks. ``tried``: ``flock`` and ``fcntl`` -> ``""``, or what went wrong."""
    what = "file locks"
    if wrong := tried.get("write"):
        return broken(what, f"{path} cannot be written: {wrong}", "make the workspace writable")
    if wrong := tried["flock"]:
        advice = "mount with local locks (NFS: not nolock; Lustre: flock), or use a local disk"
        return broken(what, f"flock in {path}: {wrong}; two commands could write at once", advice)
    if wrong := tried["fcntl"]:
        return warn(what, f"flock works, fcntl does not: {wrong}", "mount with POSIX locks")
    return ok(what, f"flock and fcntl refuse a second owner in {path}")


def file_system(path: str, kind: str | None) -> Finding:
    """Judge the type of the workspace's file system, as the kernel names it."""
    what = "file system"
    if kind is None:
        return ok(what, f"{path}: unknown")
    if kind in WEAK:
        advice = (
            "use a disk, or NFS or a cluster's file system: this one is slow and lax with locks"
        )
        return warn(what, f"{path}: {kind}", advice)
    if kind in NETWORK:
        return ok(what, f"{path}: {kind}, a network", "latency-wait: 60, as profiles/slurm has it")
    return ok(what, f"{path}: {kind}")


def threads(environment: Mapping[str, str], cpus: int) -> Finding:
    """Judge how OpenMP's threads wait: spinning ones slow a training on busy cores some 8 times."""
    what = "threads"
    policy = environment.get("OMP_WAIT_POLICY", "").strip().upper()
    count = environment.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    spins = environment.get("GOMP_SPINCOUNT", "").strip().upper()
    text = f"{cpus} cores; OMP_WAIT_POLICY {policy or 'unset'}, OMP_NUM_THREADS {count or 'unset'}"
    if policy == "ACTIVE":
        return warn(what, text, "unset OMP_WAIT_POLICY: waiting threads would spin")
    if spins in ("INFINITE", "INFINITY") or (spins.isdigit() and int(spins) > SPIN_MAX):
        return warn(what, f"{text}, GOMP_SPINCOUNT {spins}", "unset GOMP_SPINCOUNT")
    if environment.get("KMP_BLOCKTIME", "").strip().lower() == "infinite":
        return warn(what, f"{text}, KMP_BLOCKTIME infinite", "unset KMP_BLOCKTIME")
    if count.isdigit() and int(count) > cpus:
        return warn(what, text, f"set OMP_NUM_THREADS to {cpus} or less")
    return ok(what, text)


class Leftover(NamedTuple):
    """A folder of a job that was killed, and its age."""

    path: str
    age_h: float


def leftovers(found: Sequence[Leftover]) -> Finding:
    """Judge what jobs left behind that were killed with -9, which cleans nothing up."""
    what = "leftovers"
    if not found:
        return ok(what, "no folder of a killed job")
    names = " ".join(shlex.quote(path) for path in sorted(each.path for each in found)[:5])
    oldest = max(leftover.age_h for leftover in found)
    text = f"{len(found)} folders of killed jobs, the oldest {oldest:.0f} h old"
    return warn(what, text, f"rm -r {names}{' …' if len(found) > 5 else ''}")


def size(count: int) -> str:
    """Return bytes for reading.

    >>> size(64 * 2**20), size(3 * 2**29)
    ('64 MiB', '1.5 GiB')
    """
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / MIB:.0f} MiB"


def _count(limit: float) -> str:
    return "no limit" if math.isinf(limit) else f"{int(limit):,}"
