"""TorchScript, torch.export and state_dict files by PyTorch."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .arrays import dtype_name, flatten
from .folder import Folder, Refusal, first_line
from .networks import argument_entry, build_network

ONLY_TENSORS = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # torch's own switch


def pick_device(wanted: str) -> torch.device:
    """Return the device; ``auto`` takes CUDA or ROCm, then Apple's MPS, then the CPU."""
    if wanted == "auto":
        if torch.cuda.is_available():
            wanted = "cuda"
        else:
            mps = getattr(torch.backends, "mps", None)
            wanted = "mps" if mps is not None and mps.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise Refusal("device cuda: torch finds no CUDA device here; set device: auto or cpu")
    return torch.device(wanted)


class TorchModel:
    """A module in inference mode."""

    trainable = True

    def __init__(
        self,
        module: Any,
        device: torch.device,
        *,
        inputs: list[dict[str, Any]],
        outputs: list[dict[str, Any]],
        facts: dict[str, Any],
        unknowns: list[dict[str, str]] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        self.module, self.torch_device = module, device
        self.device = device.type
        self.inputs, self.outputs, self.facts = inputs, outputs, facts
        self.unknowns = unknowns or []
        self.extra = extra or {}  # preprocess, postprocess that the network's own config gives
        facts["runtime"] = f"PyTorch {torch.__version__}"
        facts["provider"] = torch.cuda.get_device_name() if self.device == "cuda" else self.device
        counted = [p.numel() for p in parameters_of(module)]
        facts["parameters"] = sum(counted)

    def call(self, feed: dict[str, np.ndarray]) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments of a call, in order and by name: tensors on the device, or plain
        numbers and texts where the signature wants these.
        """
        placed, named = [], {}
        for entry in self.inputs:
            array = feed[entry["name"]]
            value: Any
            if entry.get("python"):
                value = array.item()
            else:
                if array.shape:  # ascontiguousarray gives a scalar an axis
                    array = np.ascontiguousarray(array)
                value = torch.from_numpy(array).to(self.torch_device)
            if entry.get("keyword"):
                named[entry["name"]] = value
            else:
                placed.append(value)
        return placed, named

    def run(self, feed: dict[str, np.ndarray]) -> dict[str, Any]:
        """Return every output by name, on the CPU (which waits for the device)."""
        placed, named = self.call(feed)
        with torch.inference_mode():
            answer = self.module(*placed, **named)
        return {name: _plain(value) for name, value in flatten(answer).items()}

    def peak_vram_mib(self) -> float | None:
        """Return what torch held on the card at most, MiB."""
        if self.device != "cuda":
            return None
        return torch.cuda.max_memory_allocated() / 2**20


def parameters_of(module: Any) -> list[torch.Tensor]:
    """Return a module's parameters; an exported program may have none."""
    return list(module.parameters()) if hasattr(module, "parameters") else []


def load(folder: Folder, what: dict[str, Any], runtime: dict[str, Any], threads: int) -> TorchModel:
    """Return the model of a file, on its device."""
    torch.set_num_threads(threads)
    device = pick_device(runtime["device"])
    path = folder.path(what["file"])
    if what["format"] == "torchscript":
        told = (folder.parameters.get("contract") or {}).get("inputs") or {}
        return _torchscript(path, device, told)
    if what["format"] == "torch_export":
        return _exported(path, device, allow_code=bool(what.get("allow_code")))
    network = build_network(folder, what)
    return TorchModel(
        network.module.to(device).eval(), device, inputs=network.inputs, outputs=[],
        facts=network.facts, unknowns=network.unknowns, extra=network.extra,
    )  # fmt: skip


def _torchscript(path: Path, device: torch.device, told: dict[str, Any]) -> TorchModel:
    try:
        module = torch.jit.load(str(path), map_location=device).eval()
    except Exception as error:
        raise Refusal(f"torch.jit cannot open {path.name}: {first_line(error)}") from error
    source = "the TorchScript signature"
    inputs, unknowns = [], []
    passed_over = False
    for argument in module.forward.schema.arguments[1:]:
        kind = str(argument.type)
        if argument.has_default_value() and argument.name not in told:
            passed_over = True
            continue
        entry, unknown = argument_entry(argument.name, kind, source)
        inputs.append({**entry, "keyword": passed_over})
        unknowns += unknown
    facts = {"signature": str(module.forward.schema), "class": module.original_name}
    return TorchModel(module, device, inputs=inputs, outputs=[], facts=facts, unknowns=unknowns)


@contextmanager
def unpickling_tensors_only() -> Iterator[None]:
    """Keep torch's loader of exported programs from unpickling anything but tensors."""
    before = os.environ.get(ONLY_TENSORS), pickle.loads
    os.environ[ONLY_TENSORS], pickle.loads = "1", _refuse_pickle
    try:
        yield
    finally:
        pickle.loads = before[1]
        if before[0] is None:
            del os.environ[ONLY_TENSORS]
        else:
            os.environ[ONLY_TENSORS] = before[0]


def _refuse_pickle(*_: Any, **__: Any) -> Any:
    raise Refusal("the file holds a pickled object, which was not loaded")


def _exported(path: Path, device: torch.device, *, allow_code: bool) -> TorchModel:
    try:
        with nullcontext() if allow_code else unpickling_tensors_only():
            program = torch.export.load(str(path))
    except Refusal:
        raise
    except Exception as error:
        raise Refusal(f"torch.export cannot open {path.name}: {first_line(error)}") from error
    signature, nodes = program.graph_signature, {n.name: n for n in program.graph.nodes}
    source = "the exported program"
    ranges = {str(k): [str(v.lower), str(v.upper)] for k, v in program.range_constraints.items()}

    def entry(name: str, value: Any) -> dict[str, Any]:
        shape = [d if isinstance(d, int) else str(d) for d in value.shape]
        return {"name": name, "dtype": dtype_name(value.dtype), "shape": shape, "source": source}

    inputs = [entry(n, nodes[n].meta["val"]) for n in signature.user_inputs if n in nodes]
    outputs = [entry(n, nodes[n].meta["val"]) for n in signature.user_outputs if n in nodes]
    module = program.module().to(device)
    facts: dict[str, Any] = {"axis_ranges": ranges}
    return TorchModel(module, device, inputs=inputs, outputs=outputs, facts=facts)


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    return value
