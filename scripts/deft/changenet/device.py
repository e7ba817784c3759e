"""Where the network runs, and torch's process-wide switches for a reproducible training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from deft.changenet.spec import Spec
from deft.core.collecting import usual_collection
from deft.core.errors import HardStop
from deft.run.leases import LEASES

DETERMINISTIC = 2  # torch's mode in which an operation without a deterministic form fails


def pick_device(device: str) -> torch.device:
    """Return the device; ``auto`` is CUDA where there is one.

    In a stage's process the card is this process's alone from now on: it may have to wait.
    """
    # Before torch asks the driver: what it sees then is what it sees for good.
    if device in ("auto", "cuda"):
        LEASES.take()
    elif device.startswith("cuda:") and device[5:].isdigit():
        LEASES.take(chosen=[int(device[5:])])
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise HardStop(
            "config_invalid",
            f"device {device!r}: torch finds no CUDA device here",
            fix="set device: auto or cpu",
        )
    return torch.device(device)


def lease_training(spec: Spec) -> None:
    """Wait for the GPUs of a training: ``train.num_gpus`` of them, or those it names."""
    count, ids = spec.train.num_gpus, list(spec.train.gpu_ids)
    by_name = ids not in ([0], list(range(count)))
    LEASES.take(count, ids if by_name and min(ids, default=-1) >= 0 else None)


def training_devices(spec: Spec, device: str) -> list[torch.device]:
    """Return the device of each training process of this machine: ``train.num_gpus`` of them.

    ``cuda`` and ``auto`` take the GPUs that ``train.gpu_ids`` names (its default ``[0]`` stands
    for the first ones when ``num_gpus`` is larger). With ``cpu`` asked for by name there are as
    many processes on the CPU.

    Raises
    ------
    HardStop ``spec_invalid`` when the machine has not these GPUs, ``config_invalid`` for a device
    that it lacks altogether.
    """
    count, ids = spec.train.num_gpus, list(spec.train.gpu_ids)
    if device in ("auto", "cuda"):
        lease_training(spec)
    target = pick_device(device)
    if target.type == "cpu":
        if count > 1 and device != "cpu":
            raise HardStop(
                "spec_invalid",
                f"train.num_gpus is {count}, but torch finds no CUDA device here",
                file=spec.source,
                fix="set train.num_gpus: 1, or device: cpu for that many processes on the CPU",
            )
        return [target] * count
    if target.index is not None:
        if count > 1:
            raise HardStop(
                "config_invalid",
                f"device {device!r} names one GPU, but train.num_gpus is {count}",
                fix="set device: cuda, and the GPUs in train.gpu_ids",
            )
        return [target]
    if len(ids) != count:
        if ids != [0]:
            raise HardStop(
                "spec_invalid",
                f"train.gpu_ids {ids} names {len(ids)} GPU(s), but train.num_gpus is {count}",
                file=spec.source,
                fix="make both agree",
            )
        ids = list(range(count))
    there = torch.cuda.device_count()
    if len(set(ids)) != len(ids) or min(ids) < 0 or max(ids) >= there:
        raise HardStop(
            "spec_invalid",
            f"train.gpu_ids: GPU(s) {ids} asked for, but this job sees {there} GPU(s), numbered "
            "from 0",
            file=spec.source,
            fix=f"set train.num_gpus to {there} or less and train.gpu_ids to numbers below {there}",
        )
    return [torch.device("cuda", i) for i in ids]


@contextmanager
def reproducible(
    spec: Spec, device: torch.device, threads: int, *, compile: bool = False
) -> Iterator[torch.device]:
    """Set torch's process-wide switches for a reproducible training, and put them back.

    ``compile``: also for what torch's compiler makes of the network.
    """
    before = (
        torch.get_num_threads(),
        torch.get_deterministic_debug_mode(),
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.deterministic,
    )
    torch.set_num_threads(max(1, threads))
    # On CUDA some backward passes (bilinear resizing) have no deterministic form.
    _deterministic(DETERMINISTIC if device.type == "cpu" else 0, compile)
    torch.backends.cudnn.benchmark = spec.train.cudnn.benchmark
    torch.backends.cudnn.deterministic = spec.train.cudnn.deterministic
    try:
        with usual_collection():
            yield device
    finally:
        torch.set_num_threads(before[0])
        _deterministic(before[1], compile)
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = before[2:]


def _deterministic(mode: int, compile: bool) -> None:
    """Set the flag that ``torch.use_deterministic_algorithms`` sets.

    That one imports the compiler first (two seconds), to set its flag as well.
    """
    if compile:
        torch.use_deterministic_algorithms(mode > 0, warn_only=0 < mode < DETERMINISTIC)
    else:
        torch.set_deterministic_debug_mode(mode)
