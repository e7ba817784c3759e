"""Stage command lines in processes that are forked from one with torch already imported.

A start of Python with torch takes seconds, a tiny training less than one: so ten interrupted
trainings fit into a quick test. What runs is the script itself, with its own arguments and exit
status, in a process of its own.
"""

from __future__ import annotations

import gc
import os
import runpy
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@dataclass
class Forked:
    """A command line at work; its output is in ``output``."""

    pid: int
    output: Path

    def wait(self) -> int:
        """Return its exit status, negative for the signal that killed it."""
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)

    def text(self) -> str:
        """Return what it printed so far."""
        return self.output.read_text(encoding="utf-8")


def fork() -> int:
    """Fork; in the child nothing that an earlier test left is collected.

    It may own threads (a session of ONNX Runtime), which a child has not, and wait for them for
    ever when it goes.
    """
    gc.collect()
    gc.freeze()
    pid = os.fork()
    if pid:
        gc.unfreeze()
    return pid


def forked(name: str, *args: str, output: Path, before: Callable[[], None] | None = None) -> Forked:
    """Start ``scripts/<name>.py``; ``before`` runs in its process first, to plant a fault."""
    pid = fork()
    if pid:
        return Forked(pid, output)
    status = 70  # of a fault of this function itself
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL)
        handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, closefd=False) for n in (1, 2))
        sys.argv = [str(SCRIPTS / f"{name}.py"), *args]
        if before is not None:
            before()
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as leaving:
        status = int(leaving.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
