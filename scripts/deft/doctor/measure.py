"""Getting the facts. Each function may hang or die with its process; the runner sees to that."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from deft.doctor.judge_devices import CPU_PROVIDER, CUDA_PROVIDER, Cuda, Onnx
from deft.doctor.judge_machine import Leftover
from deft.doctor.judge_software import Ping, Tool
from deft.run.jobs import orphans
from deft.settings.environments import Package, table

SHM = Path("/dev/shm")
SHM_TRIAL_BYTES = 1 << 20
MOUNTS = Path("/proc/self/mountinfo")
COMMAND_LIMIT_S = 10.0
SIDE = 64  # of the matrices whose product is tried
TRAINING_FOLDERS = "deft_train_*"
# Below a run: of scoring, restoring weights, exporting.
JOB_FOLDERS = (".onnx.*", ".restore_*", "best_model/.export.*", "best_model/.int8.*")
OLD_H = 24.0
ONNX_BUILDS = ("onnxruntime", "onnxruntime-gpu")
# The second owner of a lock: another process, as two commands would be.
SECOND_OWNER = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    try:
        getattr(fcntl, sys.argv[2])(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(3)
"""
REFUSED = 3


def shared_memory() -> tuple[int | None, int | None, str]:
    """Return total and free bytes of ``/dev/shm``, and why it cannot be written."""
    try:
        usage = shutil.disk_usage(SHM)
    except OSError as error:
        return None, None, str(error)
    try:
        with tempfile.TemporaryFile(dir=SHM) as file:
            file.write(bytes(min(SHM_TRIAL_BYTES, usage.free)))
    except OSError as error:
        return usage.total, usage.free, str(error)
    return usage.total, usage.free, ""


def soft_limit(kind: int) -> float:
    """Return a soft limit of this process; ``inf`` is none."""
    soft, _ = resource.getrlimit(kind)
    return float("inf") if soft == resource.RLIM_INFINITY else float(soft)


def inodes(path: Path) -> tuple[int, int]:
    """Return how many inodes a file system has, and how many are free for this user."""
    facts = os.statvfs(path)
    return facts.f_files, facts.f_favail


def try_locks(folder: Path) -> dict[str, str]:
    """Return ``flock`` and ``fcntl`` -> ``""`` when a second process is refused, else why not.

    ``write`` is there when no file could be made.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=".deft_doctor_", dir=folder)
    except OSError as error:
        return {"write": str(error)}
    try:
        return {
            "flock": _try_lock(handle, name, "flock"),
            "fcntl": _try_lock(handle, name, "lockf"),
        }
    finally:
        os.close(handle)
        os.unlink(name)


def _try_lock(handle: int, name: str, function: str) -> str:
    def second() -> int:
        command = [sys.executable, "-I", "-c", SECOND_OWNER, name, function]
        return subprocess.run(command, capture_output=True, check=False).returncode

    try:
        getattr(fcntl, function)(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return str(error)
    if (status := second()) != REFUSED:
        return "a second owner got the lock" if status == 0 else f"failed with status {status}"
    getattr(fcntl, function)(handle, fcntl.LOCK_UN)
    return "" if second() == 0 else "the lock is not given back"


def file_system(path: Path, mounts: str) -> str | None:
    """Return the type of the file system that ``path`` lies on, from ``mountinfo``'s text."""
    best, kind = -1, None
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 10 or "-" not in fields:
            continue
        point = fields[4].encode().decode("unicode_escape")  # a space is \040 there
        # Of two mounts on one point the later one lies on top.
        if path.is_relative_to(point) and len(point) >= best:
            best, kind = len(point), fields[fields.index("-") + 1]
    return kind


def training_folders(temp: Path, now: float | None = None) -> list[Leftover]:
    """Return the folders of trainings in several processes that no living process names."""
    import psutil

    spoken = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            spoken |= {part for part in process.cmdline() if "deft_train_" in part}
    found = []
    for folder in sorted(temp.glob(TRAINING_FOLDERS)):
        with contextlib.suppress(OSError):
            mine = folder.stat().st_uid == os.getuid()
            used = any(str(folder) in part for part in spoken)
            age_h = ((now or time.time()) - folder.stat().st_mtime) / 3600
            if mine and not used:
                found.append(Leftover(str(folder), age_h))
    return found


def run_folders(workspace: Path, now: float | None = None) -> list[Leftover]:
    """Return the day-old working folders of jobs in the runs of a workspace where no job lives.

    A job on another machine cannot be seen from here; hence the day.
    """
    found = []
    for run_dir in sorted(workspace.glob("results/run_*")):
        if orphans(run_dir):
            continue
        for folder in sorted(path for glob in JOB_FOLDERS for path in run_dir.glob(glob)):
            with contextlib.suppress(OSError):
                age_h = ((now or time.time()) - folder.stat().st_mtime) / 3600
                if age_h >= OLD_H:
                    found.append(Leftover(str(folder), age_h))
    return found


def run(command: Sequence[str], limit_s: float = COMMAND_LIMIT_S) -> tuple[int | None, str]:
    """Return status and output of a program; None when it was cut off."""
    try:
        done = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"no answer in {limit_s:g} s"
    except OSError as error:
        return 127, str(error)
    return done.returncode, done.stdout.strip()


def tool(name: str, limit_s: float = COMMAND_LIMIT_S) -> Tool | None:
    """Return a program's version, or what is wrong with it; None when it is not on PATH."""
    if shutil.which(name) is None:
        return None
    status, text = run([name, "--version"], limit_s)
    first = text.splitlines()[0] if text else ""
    if status != 0:
        return Tool(name, "", first or f"status {status}")
    return Tool(name, first if name in first.lower() else f"{name} {first}")


def docker_engine(limit_s: float = COMMAND_LIMIT_S) -> tuple[str | None, str]:
    """Return the version of Docker's engine, or None and why it is not reached."""
    status, text = run(["docker", "version", "--format", "{{.Server.Version}}"], limit_s)
    last = text.splitlines()[-1] if text else "no answer"
    return (last, "") if status == 0 else (None, last)


def slurm_ping(limit_s: float = COMMAND_LIMIT_S) -> Ping | None:
    """Return what ``scontrol ping`` says; None without it."""
    if shutil.which("scontrol") is None:
        return None
    return Ping(*run(["scontrol", "ping"], limit_s))


def version(name: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def wanted_packages() -> list[Package]:
    """Return the pinned packages that this interpreter's environment should have.

    Without Snakemake in it, it is a conda environment of the pre-flight's family.
    """
    listed = table()
    return list(listed.packages) if version("snakemake") else listed.of("torch")


def installed(packages: Sequence[Package]) -> dict[str, str]:
    """Return distribution -> version of what is there of the packages, in any build."""
    names = [name for package in packages for name in package.builds]
    return {name: found for name in names if (found := version(name))}


def driver_version() -> str | None:
    """Return the NVIDIA driver's version, or None."""
    import pynvml

    with contextlib.suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        try:
            found = pynvml.nvmlSystemGetDriverVersion()
            return found.decode() if isinstance(found, bytes) else str(found)
        finally:
            pynvml.nvmlShutdown()
    return None


def torch_pair() -> tuple[str, str, str]:
    """Return both versions and what calling a compiled operator of torchvision raised."""
    torch, vision = version("torch") or "missing", version("torchvision") or "missing"
    try:
        import torch as t
        from torchvision.ops import nms

        boxes = t.tensor([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 4.0], [8.0, 8.0, 9.0, 9.0]])
        kept = nms(boxes, t.tensor([0.9, 0.8, 0.7]), 0.5).tolist()
        return torch, vision, "" if kept == [0, 2] else f"nms kept {kept} instead of [0, 2]"
    except Exception as error:  # a mismatch shows as RuntimeError, ImportError, OSError …
        return torch, vision, f"{type(error).__name__}: {error}"


def cuda() -> Cuda:
    """Return what torch says of CUDA after a product on every device."""
    import torch

    available = torch.cuda.is_available()
    worked: list[str] = []
    failed: list[str] = []
    for index in range(torch.cuda.device_count() if available else 0):
        name = f"cuda:{index}"
        try:
            ones = torch.ones(SIDE, SIDE, device=name)
            right = bool((ones @ ones == SIDE).all())
            (worked if right else failed).append(name if right else f"{name}: a wrong product")
        except Exception as error:
            failed.append(f"{name}: {str(error).splitlines()[0]}")
    return Cuda(torch.__version__, torch.version.cuda, available, tuple(worked), tuple(failed))


def onnx(device: str) -> Onnx:
    """Return what ONNX Runtime offers, and the provider that a tiny session ran on."""
    builds = tuple(name for name in ONNX_BUILDS if version(name))
    try:
        import numpy as np
        import onnxruntime as ort

        offered = tuple(ort.get_available_providers())
        wanted = [CPU_PROVIDER]
        if device != "cpu" and CUDA_PROVIDER in offered:
            wanted.insert(0, CUDA_PROVIDER)
        session = ort.InferenceSession(_product_model(), providers=wanted)
        given = np.ones((SIDE, SIDE), dtype=np.float32)
        (product,) = session.run(None, {"a": given, "b": given})
        error = "" if (product == SIDE).all() else "a session gave a wrong product"
        return Onnx(ort.__version__, builds, offered, session.get_providers()[0], error)
    except Exception as error:
        return Onnx("", builds, error=f"{type(error).__name__}: {error}")


def _product_model() -> bytes:
    from onnx import TensorProto, checker, helper

    def tensor(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [SIDE, SIDE])

    node = helper.make_node("MatMul", ["a", "b"], ["c"])
    graph = helper.make_graph([node], "product", [tensor("a"), tensor("b")], [tensor("c")])
    # Old numbers, which every runtime that we may meet reads.
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data
