"""The command line of a container, as a list of arguments. Nothing here starts anything."""

from __future__ import annotations

import csv
import io
import os
import re
import resource
from dataclasses import dataclass, field
from pathlib import Path

from deft.core.errors import HardStop
from deft.core.files import sha256_text

STOP_GRACE_S = 20  # between the request to end and the kill; a cluster gives a job 30
RUN_LABEL, WORKSPACE_LABEL, STAGE_LABEL = "deft.run", "deft.workspace", "deft.stage"
# What loaders and NCCL want, as NVIDIA's launcher asks for it; bytes, -1 = no limit.
LIMITS = (
    ("memlock", resource.RLIMIT_MEMLOCK, -1),
    ("stack", resource.RLIMIT_STACK, 67108864),
)
CAP_SYS_RESOURCE = 24  # bit of CapEff: whoever has it may raise its own hard limits
# Names of variables whose values never stand on a command line.
SECRETS = ("HF_TOKEN",)


@dataclass(frozen=True)
class Mount:
    """A folder or file of this machine, at the same path inside the container unless told."""

    source: Path
    target: Path | None = None
    writable: bool = False

    @property
    def inside(self) -> Path:
        """Path inside the container."""
        return self.target or self.source

    def option(self) -> str:
        """Return the value of ``--mount``: CSV, so that commas and quotes in names hold."""
        parts = ["type=bind", f"source={self.source}", f"target={self.inside}"]
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(parts + ["readonly"] * (not self.writable))
        return line.getvalue()


@dataclass(frozen=True)
class Container:
    """One container to run; the command line follows from it alone.

    Parameters
    ----------
    image: name and tag.
    argv: the entry point's arguments.
    name: of the container; a second one of the same name is refused by the runtime.
    labels: what a later command finds it by.
    mounts: bind mounts.
    workdir: working directory inside.
    env: variables by value (nothing secret).
    env_names: variables by name alone; their values come from the caller's environment.
    user: ``uid:gid``, or None for the image's own.
    gpus: ``all``, or ids separated by commas; None = no GPU is asked for.
    shm: size of ``/dev/shm``.
    network: False cuts the container off.
    runtime: ``docker`` or ``podman``.
    """

    image: str
    argv: tuple[str, ...]
    name: str
    labels: tuple[tuple[str, str], ...]
    mounts: tuple[Mount, ...]
    workdir: Path
    env: tuple[tuple[str, str], ...] = ()
    env_names: tuple[str, ...] = ()
    user: str | None = None
    gpus: str | None = "all"
    shm: str = "8g"
    network: bool = True
    runtime: str = "docker"
    entrypoint: str | None = field(default=None)

    def __post_init__(self) -> None:
        secret = [name for name, _ in self.env if name in SECRETS or "KEY" in name]
        if secret:
            raise ValueError(f"{secret[0]} must be passed by name")


def container_name(workspace: Path, run: str, phase: str, stage: str) -> str:
    """Return a name that is this stage's of this run of this workspace alone."""
    text = f"deft-{sha256_text(str(workspace))[:8]}-{run}-{phase}-{stage}"
    return re.sub(r"[^A-Za-z0-9_.-]", "-", text)


def command(container: Container) -> list[str]:
    """Return the command that runs a container in the foreground and removes it at its end."""
    c = container
    out = [c.runtime, "run", "--rm", "--init", "--pull", "never", "--name", c.name]
    for label, value in c.labels:
        out += ["--label", f"{label}={value}"]
    out += _gpu_options(c)
    out += ["--shm-size", c.shm, *_limit_options(c.runtime)]
    out += ["--stop-timeout", str(STOP_GRACE_S)]
    if c.user is not None:
        out += ["--user", c.user]
        if c.runtime == "podman" and os.getuid() != 0:
            out += ["--userns", "keep-id"]  # rootless: the caller's ids inside are his outside
    if not c.network:
        out += ["--network", "none"]
    for mount in c.mounts:
        out += ["--mount", mount.option()]
    out += ["--workdir", str(c.workdir)]
    for name, value in c.env:
        out += ["--env", f"{name}={value}"]
    for name in c.env_names:
        out += ["--env", name]
    if c.entrypoint:
        out += ["--entrypoint", c.entrypoint]
    return [*out, c.image, *c.argv]


def _limit_options(runtime: str) -> list[str]:
    """Return the limits' options; podman sets them with the caller's rights, Docker with root's."""
    out = []
    for name, number, wanted in LIMITS:
        hard = resource.getrlimit(number)[1]
        above = hard != resource.RLIM_INFINITY and (wanted == -1 or wanted > hard)
        value = hard if runtime == "podman" and above and not _may_raise_limits() else wanted
        out += ["--ulimit", f"{name}={value}"]
    return out


def _may_raise_limits() -> bool:
    """Whether this process has CAP_SYS_RESOURCE; root of a sandbox may not."""
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", text, re.MULTILINE)
    return bool(found and int(found[1], 16) >> CAP_SYS_RESOURCE & 1)


def _gpu_options(c: Container) -> list[str]:
    if c.gpus is None:
        return []
    if c.runtime == "podman":  # the names of the container device interface
        ids = c.gpus.split(",")
        return [part for i in ids for part in ("--device", f"nvidia.com/gpu={i}")]
    # Docker reads the value as CSV: a list of ids needs its own quotes.
    wanted = c.gpus if c.gpus == "all" else f"device={c.gpus}"
    return ["--gpus", f'"{wanted}"' if "," in wanted else wanted]


def gpus_of_job() -> str:
    """Return the GPUs that this job may use: ``CUDA_VISIBLE_DEVICES``, else all."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "").replace(" ", "").strip(",")
    return given or "all"


def hydra(name: str, value: str | Path) -> str:
    """Return ``name=value`` as TAO's command line reads it, quoted where its grammar wants it."""
    text = str(value)
    if re.fullmatch(r"[A-Za-z0-9_./@:+-]+", text):
        return f"{name}={text}"
    if "\n" in text:
        raise HardStop("path_escape", f"a path with a line break cannot be handed on: {text!r}")
    escaped = text.replace("\\", "\\\\") if text.endswith("\\") else text
    return name + "='" + escaped.replace("'", "\\'") + "'"
