"""Starting a training in several processes of this machine, and telling why one of them failed."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

import torch
import torch.distributed as dist

from deft.changenet.training.distributed import TIMEOUT, DistributedContext
from deft.core import disk
from deft.core.errors import HardStop
from deft.core.interrupt import Interrupted, Requests

PR_SET_PDEATHSIG = 1  # of prctl(2)
OUT_OF_MEMORY = "OutOfMemoryError: "  # torch's, in a traceback
HOST = "127.0.0.1"
# What a process says: any number of lines, then how it ended; the last without a word.
LINE, RESULT, INTERRUPTED, STOP, DIED, GONE = (
    *("line", "result", "interrupted", "stop", "died", "gone"),
)


def train_in_processes(
    devices: list[torch.device], arguments: tuple[Any, ...], *, log: Callable[[str], None]
) -> dict[str, Any]:
    """Run a training with a process for each device and return its ``weights.json``.

    Parameters
    ----------
    arguments: of :func:`deft.changenet.training.own_process.train_here`, but for its last three.
    log: takes what process 0 says, line by line.

    Raises
    ------
    HardStop of the process that stopped (the lowest number, if several did). ``RuntimeError`` with
    the last words of a process that died otherwise. The others are killed in both cases.
    Interrupted when this process or one of those got a signal: all saved the state and ended.
    """
    start = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # else each gives advice on its network
    # Here, so that no port is chosen before it is taken.
    store = dist.TCPStore(HOST, 0, is_master=True, wait_for_workers=False)
    processes: list[Any] = []
    readers: list[Connection] = []
    # A signal for this process is one for all: they agree on the step at which they stop.
    with Requests(lambda number: _tell(processes, number)) as requests:
        try:
            for rank in range(len(devices)):
                reader, writer = start.Pipe(duplex=False)
                given = (rank, len(devices), devices[rank], store.port, arguments, writer)
                process = start.Process(target=_work, args=given)
                process.start()
                writer.close()  # then the pipe ends with the process
                processes.append(process)
                readers.append(reader)
            said = _listen(readers, log)
        finally:
            _tell(processes, signal.SIGKILL)
            for process in processes:
                process.join()
    codes = [process.exitcode for process in processes]
    return _outcome(said, codes, requests.asked)


def _listen(readers: list[Connection], log: Callable[[str], None]) -> dict[int, tuple[str, Any]]:
    """Return each process's last word, by rank, when all have ended or one has failed."""
    said: dict[int, tuple[str, Any]] = {}
    ranks = {reader: rank for rank, reader in enumerate(readers)}

    def hear(reader: Connection) -> None:
        try:
            kind, value = reader.recv()
        except (EOFError, OSError):
            said.setdefault(ranks.pop(reader), (GONE, None))
            return
        if kind == LINE:
            log(value)
        else:
            said[ranks[reader]] = (kind, value)

    while ranks and not any(kind in (STOP, DIED, GONE) for kind, _ in said.values()):
        ready: list[Any] = wait(list(ranks))
        for reader in ready:
            hear(reader)
    # Who failed first has said so before the others noticed: its word is the one that counts.
    for reader in list(ranks):
        while reader in ranks and reader.poll():
            hear(reader)
    return said


def _outcome(
    said: dict[int, tuple[str, Any]], codes: list[int | None], asked: int | None
) -> dict[str, Any]:
    """Return process 0's result, or raise what ended the training."""
    by_kind: dict[str, tuple[int, Any]] = {}
    for rank in sorted(said, reverse=True):
        by_kind[said[rank][0]] = (rank, said[rank][1])  # of the lowest rank
    if STOP in by_kind:
        raise HardStop.from_dict(by_kind[STOP][1])
    if INTERRUPTED in by_kind and DIED not in by_kind:
        raise Interrupted.from_dict(by_kind[INTERRUPTED][1])
    if GONE in by_kind:
        if asked is not None:  # before it could listen to signals
            text = "the same training, started again, goes on from its last saved state"
            raise Interrupted(asked, f"{text}, if it has one")
        rank = by_kind[GONE][0]
        code = codes[rank] or 0
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"it ended with {code}"
        raise RuntimeError(f"training process {rank} of {len(codes)} died: {how}")
    if DIED in by_kind:
        raise _death(by_kind[DIED][0], len(codes), by_kind[DIED][1])
    return said[0][1]


def _death(rank: int, count: int, told: str) -> RuntimeError:
    """Return the error for a process that died of an exception, from its traceback."""
    lines = told.strip().splitlines()
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


def _tell(processes: list[Any], number: int) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            if process.exitcode is None:
                os.kill(process.pid, number)


def end_with_parent(how: int) -> None:
    """Have Linux send this process the signal ``how`` when its parent ends, even by a kill.

    Else orphans would go on writing beside the training that resumes. Elsewhere: nothing.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, how)


def _work(
    rank: int,
    count: int,
    device: torch.device,
    port: int,
    arguments: tuple[Any, ...],
    out: Connection,
) -> None:
    """Be one of the processes: train, and say how it ended."""
    end_with_parent(signal.SIGKILL)
    from deft.changenet.training.own_process import train_here

    def say(text: str) -> None:
        if rank == 0:
            out.send((LINE, text))

    status = 1
    try:
        with Requests() as requests:
            os.environ["LOCAL_RANK"] = str(rank)  # Lightning then starts no processes of its own
            backend, own = ("nccl", device) if device.type == "cuda" else ("gloo", None)
            store = dist.TCPStore(HOST, port, is_master=False)
            dist.init_process_group(
                backend, store=store, rank=rank, world_size=count, timeout=TIMEOUT, device_id=own
            )
            given = (*arguments, say, requests, DistributedContext(rank, count))
            result = train_here(*given)
            out.send((RESULT, result))
            dist.destroy_process_group()
        status = 0
    except Interrupted as stop:
        out.send((INTERRUPTED, stop.as_dict()))
    except HardStop as stop:
        out.send((STOP, stop.as_dict()))
    except Exception:  # whatever it is: told, then out
        out.send((DIED, traceback.format_exc()))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Without the interpreter's tidying: a process that stops must not wait for the others.
        os._exit(status)
