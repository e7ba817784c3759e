"""Running one container: its image is here, its lines are shown, it ends when this process does."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deft.core.commands import resume
from deft.core.errors import HardStop, StageFailed
from deft.core.interrupt import SIGNALS, raise_on_signals, restore
from deft.run.containers import running
from deft.run.containers.command import Container, command

TAIL_LINES = 30
FAILED = "Execution status: FAIL"  # TAO's last line; its exit status may be 0 all the same
MEMORY_MARKS = ("OutOfMemoryError", "CUDA out of memory")
NOT_STARTED = (125, 126)  # the runtime's own failures; podman's are 126 where its helper fails


@dataclass(frozen=True)
class Image:
    """An image that is on this machine: its name and the digest that says which one it is."""

    name: str
    id: str


def require_image(runtime: str, image: str) -> Image:
    """Return the image as it lies on this machine; nothing is ever fetched.

    Raises
    ------
    HardStop ``missing_input`` when the runtime or the image is not here.
    """
    if not shutil.which(runtime):
        raise HardStop(
            "missing_input",
            f"engine tao needs {runtime} on PATH",
            file=runtime,
            fix=f"install {runtime} with NVIDIA's container toolkit, or set engine: native",
        )
    asked = [runtime, "image", "inspect", "--format", "{{.Id}}", image]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        if "no such image" not in said.lower() and "not known" not in said.lower():
            raise StageFailed(f"{runtime} does not answer: {said}")
        raise HardStop(
            "missing_input",
            f"the image {image} is not on this machine, and none is fetched without being asked",
            file=image,
            fix=how_to_stage(runtime, image),
        )
    return Image(image, done.stdout.strip())


def how_to_stage(runtime: str, image: str) -> str:
    """Return the commands that bring an image here, with and without a connection."""
    login = (
        f"{runtime} login nvcr.io (user $oauthtoken, password: your NGC_API_KEY), then "
        if image.startswith("nvcr.io/")
        else ""
    )
    return (
        f"{login}{runtime} pull {image}; without a connection: {runtime} save {image} | gzip > "
        f"tao.tar.gz on another machine, {runtime} load --input tao.tar.gz here"
    )


def run_container(
    container: Container,
    run_dir: Path,
    *,
    phase: str,
    stage: str,
    secrets: dict[str, str] | None = None,
    log: Callable[[str], None] | None = None,
) -> list[str]:
    """Run a container to its end and return its last lines.

    Every line is shown as it comes. When this process is asked to end, the container is ended
    first; a process that is killed leaves a note for ``make resume``.

    Parameters
    ----------
    secrets: values of ``container.env_names``; they reach the runtime by its environment alone.

    Raises
    ------
    StageFailed when the container does not start, or ends with another status than 0 or with TAO's
    word of a failure.
    """
    say = log or (lambda line: print(line, flush=True))
    if running.runs(container.runtime, container.name):  # its note must stay
        raise StageFailed(
            f"the container {container.name} of an earlier command still works; "
            f"`{resume(Path(run_dir, '../..'))}` ends it and goes on"
        )
    note = running.note(run_dir, container, phase=phase, stage=stage)
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    with _ends_with_us():
        process = subprocess.Popen(
            command(container),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            env={**os.environ, **(secrets or {})},
            start_new_session=True,  # a signal reaches the container by our hand alone
        )
        try:
            assert process.stdout is not None
            for line in process.stdout:
                tail.append(line.rstrip("\n"))
                say(tail[-1])
            status = process.wait()
        except BaseException:
            running.stop(container.runtime, container.name)
            process.kill()
            process.wait()
            raise
        finally:
            note.unlink(missing_ok=True)
    _judge(container, status, list(tail), stage)
    return list(tail)


@contextmanager
def _ends_with_us() -> Iterator[None]:
    """Turn the first request to end into an exception, which ends the container on its way up."""
    before = raise_on_signals((*SIGNALS, signal.SIGHUP))
    try:
        yield
    finally:
        restore(before)


def _judge(container: Container, status: int, tail: list[str], stage: str) -> None:
    failed = any(FAILED in line for line in tail)
    if status == 0 and not failed:
        return
    shown = "\n  ".join(line for line in tail[-12:] if line.strip()) or "(it printed nothing)"
    memory = next((line for line in tail if any(mark in line for mark in MEMORY_MARKS)), None)
    if memory is not None:
        raise StageFailed(f"TAO's {stage} ran out of GPU memory: {memory.strip()}", status=137)
    what = "did not start" if status in NOT_STARTED else f"ended with status {status}"
    if status == 0:
        what = f"says {FAILED!r}"
    raise StageFailed(
        f"the container of {stage} ({container.image}) {what}. Its last lines:\n  {shown}",
        status=137 if status == 137 else 2,
    )
