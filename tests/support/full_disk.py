"""Disks of a few megabytes, and limits on file sizes, for tests of what happens when they are full.

A real tmpfs where this user may mount one (in a container as root, say); a limit on the size of a
file (``ulimit -f``) everywhere.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

BALLAST = ".ballast"


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a tmpfs of ``size`` on ``folder``; skips the test where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this user may not mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, left_bytes: int) -> None:
    """Leave so many bytes of the disk of ``folder`` free, in whole pages."""
    free(folder)
    count = max(0, shutil.disk_usage(folder).free - left_bytes)
    with (folder / BALLAST).open("wb") as handle, contextlib.suppress(OSError):
        while count > 0:
            count -= os.write(handle.fileno(), bytes(min(count, 1 << 20)))


def free(folder: Path) -> None:
    """Take the ballast away."""
    (folder / BALLAST).unlink(missing_ok=True)


def limit_files(count: int) -> None:
    """Let no file of this process grow beyond ``count`` bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
