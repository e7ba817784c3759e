"""torch, CUDA, ONNX Runtime and the cards: facts in, a finding out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from deft.core.hardware import Gpu, advised_batch
from deft.doctor.finding import Finding, broken, ok, warn

CPU_PROVIDER, CUDA_PROVIDER = "CPUExecutionProvider", "CUDAExecutionProvider"
GPU_LIST = "pip install -r envs/requirements-gpu.txt in a fresh environment"


def torch_pair(torch: str, torchvision: str, error: str = "") -> Finding:
    """Judge whether both were built for each other. ``error``: what calling an operator raised."""
    what = "torch pair"
    text = f"torch {torch}, torchvision {torchvision}"
    if error:
        advice = "install both from one list: pip install -r envs/requirements.txt"
        return broken(what, f"{text} do not fit: {error}", advice)
    return ok(what, f"{text}; an operator ran")


class Cuda(NamedTuple):
    """What torch says of CUDA, and what it could do."""

    torch: str
    build: str | None  # CUDA that torch was built for
    available: bool
    worked: tuple[str, ...] = ()  # devices on which a product came out right
    failed: tuple[str, ...] = ()  # "cuda:1: why"


UNUSED = Cuda("", None, False)  # device: cpu, nothing was asked


def cuda(device: str, driver: str | None, cards: int, facts: Cuda) -> Finding:
    """Judge whether torch computes on the cards. ``device``: auto, cpu or cuda, as configured."""
    what = "CUDA"
    if device == "cpu":
        return ok(what, "not used (device: cpu)")
    if not cards and not facts.available:
        text = "no NVIDIA GPU here"
        if device == "cuda":
            advice = (
                "right on a login node whose jobs get one; else device=auto. Look on the node: docs"
            )
            return warn(what, f"{text}, and device is cuda", advice)
        return ok(what, f"{text}: everything runs on the CPU")
    if facts.build is None:
        advice = "install the registry's torch: pip install -r envs/requirements-gpu.txt"
        return broken(what, f"{cards} GPU, but torch {facts.torch} was built without CUDA", advice)
    text = f"torch {facts.torch} for CUDA {facts.build}, driver {driver or 'unknown'}"
    if not facts.available:
        advice = (
            f"update the driver to one for CUDA {facts.build}, and see that the job or container "
            "was given the GPU (CUDA_VISIBLE_DEVICES, --gpus all, --nv)"
        )
        return broken(what, f"{text}: torch sees no GPU", advice)
    if facts.failed:
        advice = (
            "nvidia-smi -q tells the card's state; another build of torch if it names no kernel"
        )
        return broken(what, f"{text}: {'; '.join(facts.failed)}", advice)
    return ok(what, f"{text}; a product ran on {', '.join(facts.worked)}")


def cards(found: Sequence[Gpu]) -> Finding:
    """Judge number and memory of the cards."""
    what = "GPUs"
    if not found:
        return ok(what, "none")
    text = ", ".join(f"{g.name} {g.memory_gib:g} GiB ({g.free_gib:g} free)" for g in found)
    batch = advised_batch(min(g.memory_gib for g in found))
    text = f"{len(found)}: {text}; ViT-B at 224 px: batch_size up to {batch}"
    busy = [g for g in found if g.free_gib < g.memory_gib / 2]
    if busy:
        names = ", ".join(str(g.index) for g in busy)
        return warn(what, text, f"another process holds over half of GPU {names}: nvidia-smi")
    return ok(what, text)


class Onnx(NamedTuple):
    """What ONNX Runtime offers, and what a tiny session really ran on."""

    version: str
    builds: tuple[str, ...]  # installed distributions
    available: tuple[str, ...] = ()
    used: str | None = None
    error: str = ""


def onnx_provider(device: str, cards: int, facts: Onnx) -> Finding:
    """Judge the execution provider of a session that has run."""
    what = "ONNX Runtime"
    if len(facts.builds) > 1:
        both = " and ".join(facts.builds)
        advice = f"pip uninstall {' '.join(facts.builds)}; then {GPU_LIST}"
        return broken(what, f"{both} are both installed, and hide each other's providers", advice)
    text = f"{' '.join(facts.builds) or 'onnxruntime'} {facts.version}"
    if facts.error:
        return broken(what, f"{text}: {facts.error}", "install the pinned list again")
    if device != "cpu" and cards and facts.used != CUDA_PROVIDER:
        if CUDA_PROVIDER not in facts.available:
            return warn(what, f"{text} knows no CUDA: runtime: onnx would use the CPU", GPU_LIST)
        advice = "its CUDA and cuDNN libraries do not load: ORT's log on stderr names the file"
        return broken(what, f"{text} offers CUDA, but the session ran on {facts.used}", advice)
    return ok(what, f"{text}; a session ran on {facts.used}")
