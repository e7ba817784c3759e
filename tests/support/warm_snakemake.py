"""Snakemake commands in processes that are forked from one with Snakemake already imported.

A start of Snakemake costs four times what a dry run then does, and the workflow's tests start it
some hundred times. What runs is Snakemake's own ``main`` with its arguments, environment, folder
and exit status, in a process of its own; jobs are started as ever. The first process has nothing of
this project in it, so the Snakefile of any copy of the repository imports its own code.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

# Beside the command line: what every command imports on its way.
IMPORTED = ("snakemake.cli", "snakemake.report.html_reporter", "snakemake.storage", "requests")
IMPORTED += ("snakemake.profiles", "jsonschema", "yte")


class Warm:
    """The process that is forked, and how it is asked."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        command = [sys.executable, str(Path(__file__).resolve())]
        self.process = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.lock = threading.Lock()
        atexit.register(self.process.kill)

    def run(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str], limit_s: int
    ) -> subprocess.CompletedProcess[str]:
        """Run ``python -m snakemake …``; stdout holds stderr too."""
        assert self.process.stdin and self.process.stdout
        with tempfile.NamedTemporaryFile() as output, self.lock:
            asked = [output.name, list(command[3:]), str(folder), dict(environment), limit_s]
            self.process.stdin.write(json.dumps(asked) + "\n")
            self.process.stdin.flush()
            status = json.loads(self.process.stdout.readline())
            text = Path(output.name).read_text(encoding="utf-8", errors="replace")
        if status is None:
            raise subprocess.TimeoutExpired(list(command), limit_s, text)
        return subprocess.CompletedProcess(list(command), status, text)


@cache
def _warm(of_python: tuple[tuple[str, str], ...]) -> Warm:
    return Warm({**os.environ, **dict(of_python)})


def run_warm(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], limit_s: int
) -> subprocess.CompletedProcess[str]:
    """Run a command line ``[python, -m, snakemake, …]`` from the process kept for such ones.

    Raises subprocess.TimeoutExpired after ``limit_s`` seconds; the command is killed then.
    """
    read_at_start = ("PYTHON", "OMP_", "MKL_", "LC_", "LANG", "LD_")
    start = {k: v for k, v in environment.items() if k.startswith(read_at_start)}
    return _warm(tuple(sorted(start.items()))).run(command, folder, environment, limit_s)


def _serve() -> None:
    """Fork once a line of stdin, and answer with the exit status (null: killed, too slow)."""
    import importlib

    for name in IMPORTED:
        importlib.import_module(name)
    answers = os.fdopen(os.dup(1), "w")  # not inherited by programs
    questions = os.fdopen(os.dup(0), "r")
    for line in iter(questions.readline, ""):
        output, arguments, folder, environment, limit_s = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(output, arguments, folder, environment)
            return
        signal.signal(signal.SIGALRM, lambda *_, pid=child: os.kill(pid, signal.SIGKILL))
        signal.alarm(limit_s)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        late = signal.alarm(0) == 0
        answers.write(json.dumps(None if late else status) + "\n")
        answers.flush()


def _become(output: str, arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Be the command: what is left of this process is Snakemake's."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    handles = (os.open(os.devnull, os.O_RDONLY), os.open(output, os.O_WRONLY | os.O_TRUNC))
    for target, source in enumerate((handles[0], handles[1], handles[1])):
        os.dup2(source, target)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    from snakemake.cli import main

    sys.path[0] = folder  # as `python -m` has it
    sys.argv = [str(Path(sys.modules["snakemake"].__file__).with_name("__main__.py")), *arguments]
    main()


if __name__ == "__main__":
    _serve()
