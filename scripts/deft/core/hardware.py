"""Facts about the machine: graphics cards, memory, disk. Every question works without a GPU."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
GIB = 1 << 30


@dataclass(frozen=True)
class Gpu:
    """One graphics card (or one slice of a partitioned card) as the driver describes it."""

    index: int
    name: str
    memory_gib: float
    free_gib: float

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return asdict(self)


def has_card() -> bool:
    """Return whether an NVIDIA driver is loaded here, at the price of one look at the disk."""
    return Path("/dev/nvidiactl").exists()


def gpus() -> list[Gpu]:
    """Return the NVIDIA cards of this machine, in the driver's order; ``[]`` without driver.

    A card in MIG mode is given as its slices, because a job only gets one of those.
    """
    return [Gpu(i, *facts) for i, facts in enumerate(_asked(_facts))]


def _asked(question: Callable[[Any, Any], T]) -> list[T]:
    """Return ``question(nvml, card)`` for every card."""
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        handles = []
        for i in range(pynvml.nvmlDeviceGetCount()):
            # A card that has fallen off the bus must not hide the others.
            with contextlib.suppress(pynvml.NVMLError):
                handles += _slices(pynvml, pynvml.nvmlDeviceGetHandleByIndex(i))
        return [question(pynvml, handle) for handle in handles]
    except pynvml.NVMLError:
        return []
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def gpu_ids() -> list[tuple[str, str]]:
    """Return (unique id, name) of the cards that :func:`gpus` lists; ``[]`` without driver."""
    return _asked(lambda nvml, handle: (_text(nvml.nvmlDeviceGetUUID(handle)), _name(nvml, handle)))


def _slices(nvml: Any, handle: Any) -> list[Any]:
    try:
        on, _ = nvml.nvmlDeviceGetMigMode(handle)
    except nvml.NVMLError:  # cards that know no partitions
        return [handle]
    if on != 1:
        return [handle]
    found = []
    for i in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        with contextlib.suppress(nvml.NVMLError):  # an empty slot
            found.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, i))
    return found or [handle]


def _facts(nvml: Any, handle: Any) -> tuple[str, float, float]:
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    return _name(nvml, handle), round(memory.total / GIB, 1), round(memory.free / GIB, 1)


def _name(nvml: Any, handle: Any) -> str:
    return _text(nvml.nvmlDeviceGetName(handle))


def _text(found: str | bytes) -> str:
    return found.decode() if isinstance(found, bytes) else str(found)


def free_disk_gib(path: str | Path) -> float:
    """Return the free space of the disk that ``path`` (or its nearest parent) lies on, in GiB."""
    path = Path(path).absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free / GIB


def cpus() -> int:
    """Return how many processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# Largest advised batch of ViT-B at 224 px, by card memory (GiB as the driver reports it, which is
# up to 7 % below the name): 16 on 48 GB and 8 on 24 GB are the given points.
BATCH_BY_MEMORY = ((70.0, 26), (40.0, 16), (20.0, 8), (14.0, 5), (10.0, 3), (0.0, 1))
REFERENCE_PIXELS = 224 * 224


def advised_batch(memory_gib: float, pixels: int = REFERENCE_PIXELS) -> int:
    """Return the largest advised batch of a ViT-B for pictures of ``pixels`` on one card."""
    limit = next(batch for memory, batch in BATCH_BY_MEMORY if memory_gib >= memory)
    return max(1, int(limit * REFERENCE_PIXELS / max(pixels, REFERENCE_PIXELS)))
