"""Starting a training in several processes with torchrun, and telling why one of them failed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from deft.changenet.spec import Spec
from deft.core import disk
from deft.core.errors import HardStop
from deft.core.files import read_json, write_json_atomic
from deft.core.interrupt import Interrupted, Requests

JOB_FILE = "job.json"
PR_SET_PDEATHSIG = 1  # of prctl(2)
LIBRARY = Path(__file__).resolve().parents[3]
OUT_OF_MEMORY = "OutOfMemoryError: "  # torch's, in a traceback
# torchrun waits so long for processes that a signal or a failed one ends, then kills them. A step
# and the state of a large network must fit in.
SHUTDOWN_TIMEOUT, SHUTDOWN_S = "TORCH_ELASTIC_SHUTDOWN_TIMEOUT", 120
LAST_WORDS = 15  # lines of a failed process that are shown


def train_in_processes(
    spec: Spec, count: int, arguments: dict[str, Any], *, threads: int, log: Callable[[str], None]
) -> dict[str, Any]:
    """Run a training in ``count`` processes of this machine and return its ``weights.json``.

    Parameters
    ----------
    arguments: of :func:`deft.changenet.training.train.train`, as JSON holds them.
    threads: CPU threads of all processes together.
    log: takes what process 0 prints, line by line.

    Raises
    ------
    HardStop of the process that stopped (the lowest number, if several did). ``RuntimeError`` with
    the last lines of a process that died otherwise. torchrun ends the others in both cases.
    Interrupted when this process or one of those got a signal: all saved the state and ended.
    """
    with tempfile.TemporaryDirectory(prefix="deft_train_") as name:
        folder = Path(name)
        job = {"spec": spec.to_dict(), "source": spec.source, "arguments": arguments}
        write_json_atomic(folder / JOB_FILE, job)
        each = max(1, threads // count)
        paths = [str(LIBRARY), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {
            "OMP_NUM_THREADS": str(each),
            SHUTDOWN_TIMEOUT: str(SHUTDOWN_S),
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        }
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", str(count)]
        command += ["-m", "deft.changenet.training.worker", str(folder / JOB_FILE)]
        with (folder / "stderr.txt").open("w") as errors:
            status, asked = _run(command, environment, errors, log)
        if status:
            raise _interruption(folder, count, asked) or _reason(folder, count, status)
    return read_json(Path(arguments["out_dir"]) / "weights.json")


def _run(
    command: list[str], environment: dict[str, str], errors: Any, log: Callable
) -> tuple[int, int | None]:
    """Run torchrun; return its exit status, and the signal that this process got meanwhile."""
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        preexec_fn=_tie_torchrun,
    )
    with Requests(lambda number: _pass_on(process.pid, number)) as requests:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                log(line.rstrip("\n"))
            return process.wait(), requests.asked
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(2 * SHUTDOWN_S)  # torchrun kills its processes after one
                except subprocess.TimeoutExpired:
                    process.kill()  # they die with it
                    process.wait()


def _tie_torchrun() -> None:
    end_with_parent(signal.SIGKILL)
    # torchrun would die of it, and take the training processes along before they have saved.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def _pass_on(torchrun: int, number: int) -> None:
    """Tell the training processes to stop; torchrun, told itself, would soon kill them."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(torchrun)
        children = process.children()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.send_signal(number)
        if not children:  # it has not started them yet
            process.terminate()


def end_with_parent(how: int) -> None:
    """Have Linux send this process the signal ``how`` when its parent ends, even by a kill.

    Else orphans would go on writing beside the training that resumes. Elsewhere: nothing.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, how)


def stop_file(job: Path, rank: int) -> Path:
    """Return where the process ``rank`` writes its hard stop."""
    return job.with_name(f"stop_{rank}.json")


def death_file(job: Path, rank: int) -> Path:
    """Return where the process ``rank`` writes the traceback of any other error."""
    return job.with_name(f"died_{rank}.txt")


def interruption_file(job: Path, rank: int) -> Path:
    """Return where the process ``rank`` writes that a signal ended it."""
    return job.with_name(f"interrupted_{rank}.json")


def peer_failed(job: Path) -> bool:
    """Return whether a training process of this job has failed."""
    return any(any(job.parent.glob(pattern)) for pattern in ("stop_*.json", "died_*.txt"))


def _interruption(folder: Path, count: int, asked: int | None) -> Interrupted | None:
    """Return how a training was interrupted, None when it ended otherwise."""
    job = folder / JOB_FILE
    if peer_failed(job):
        return None
    for rank in range(count):
        path = interruption_file(job, rank)
        if path.is_file():
            with contextlib.suppress(HardStop, ValueError):  # not written whole: told below
                return Interrupted.from_dict(read_json(path))
    # Before the processes could listen to signals, or one that was killed on the way.
    text = "the same training, started again, goes on from its last saved state, if it has one"
    return Interrupted(asked, text) if asked is not None else None


def _reason(folder: Path, count: int, status: int) -> Exception:
    for rank in range(count):
        path = stop_file(folder / JOB_FILE, rank)
        if path.is_file():
            try:
                return HardStop.from_dict(read_json(path))
            except (HardStop, ValueError) as error:  # it could not be written whole
                return RuntimeError(f"training process {rank} of {count} stopped: {error}")
    for rank in range(count):
        path = death_file(folder / JOB_FILE, rank)
        if path.is_file():
            told = path.read_text(encoding="utf-8", errors="replace").strip()
            lines = told.splitlines()
            # Words on memory or a full disk may go on for several lines; the first of them tells.
            telling = [
                line
                for line in lines
                if (OUT_OF_MEMORY in line or disk.MARK in line) and "File " not in line
            ]
            last = telling[-1] if telling else (lines or ["no word was left"])[-1]
            error = RuntimeError(f"training process {rank} of {count} died: {last}")
            error.__cause__ = RuntimeError(told)  # for the file with the details
            return error
    # Killed from outside (memory, a signal): only torchrun can tell.
    words = (folder / "stderr.txt").read_text(encoding="utf-8", errors="replace").splitlines()
    last_words = "\n".join([line for line in words if line.strip()][-LAST_WORDS:])
    return RuntimeError(f"one of {count} training processes died (status {status}):\n{last_words}")
