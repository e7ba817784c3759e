"""ONNX files by ONNX Runtime. The file's own signature is the contract."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnxruntime

from .arrays import dtype_name
from .folder import Folder, Refusal, whole

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
SOURCE = "the ONNX graph"
UNNAMED = "axis {}"


def providers_for(device: str, wanted: list[str]) -> list[str]:
    """Return the providers to ask for, best first; raises :class:`Refusal` for one not built in."""
    there = onnxruntime.get_available_providers()
    if not wanted:
        wanted = [CUDA] if device == "cuda" or (device == "auto" and CUDA in there) else [CPU]
    absent = [name for name in wanted if name not in there]
    if absent:
        raise Refusal(
            f"this ONNX Runtime has no {', '.join(absent)} (it has {', '.join(there)}); install "
            "the "
            "build that has it, or set device: cpu and leave explore.providers empty"
        )
    return wanted if CPU in wanted else [*wanted, CPU]


class OnnxModel:
    """A session. ``run`` takes and gives numpy arrays (lists and maps where the graph has them)."""

    trainable = False

    def __init__(self, session: Any, wanted: list[str]) -> None:
        self.session = session
        found = session.get_providers()
        if found[0] != wanted[0]:
            raise Refusal(
                f"ONNX Runtime was asked for {wanted[0]} and fell back to {found[0]}: its "
                "libraries "
                "do not load here"
            )
        self.device = {CPU: "cpu", CUDA: "cuda"}.get(found[0], found[0])
        self.inputs = [_entry(i) for i in session.get_inputs()]
        self.outputs = [_entry(o) for o in session.get_outputs()]
        meta = session.get_modelmeta()
        self.facts: dict[str, Any] = {
            "runtime": f"ONNX Runtime {onnxruntime.__version__}",
            "provider": found[0],
            "producer": meta.producer_name or None,
            "graph": meta.graph_name or None,
            "description": meta.description or None,
            "metadata": dict(sorted(meta.custom_metadata_map.items())),
        }
        self.unknowns: list[dict[str, str]] = []

    def run(self, feed: dict[str, np.ndarray]) -> dict[str, Any]:
        """Return every output by name."""
        names = [o["name"] for o in self.outputs]
        return dict(zip(names, self.session.run(names, feed)))  # noqa: B905

    def peak_vram_mib(self) -> float | None:
        """Return None: ONNX Runtime does not tell what it holds on a card."""
        return None


def load(folder: Folder, what: dict[str, Any], runtime: dict[str, Any], threads: int) -> OnnxModel:
    """Return the session of a model file."""
    return OnnxModel(*session_for(folder, what, runtime, threads))


def session_for(
    folder: Folder, what: dict[str, Any], runtime: dict[str, Any], threads: int, *, trace: str = ""
) -> tuple[Any, list[str]]:
    """Return a session and the providers it was asked for; ``trace`` = prefix of a profile file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if trace:
        options.enable_profiling = True
        options.profile_file_prefix = trace
    wanted = providers_for(runtime["device"], list(runtime.get("providers") or []))
    try:
        path = str(folder.path(what["file"]))
        return onnxruntime.InferenceSession(path, options, providers=wanted), wanted
    except Exception as error:  # onnxruntime's classes have no common base
        raise Refusal(_why_not(what["file"], whole(error))) from error


def _why_not(file: str, said: str) -> str:
    """Return why a session cannot be made; what this ONNX Runtime is too old for is no damage."""
    newest = re.search(
        r"is till opset (\d+)|IR version: \d+, max supported IR version: (\d+)", said
    )
    if newest:
        what = f"opset {newest[1]}" if newest[1] else f"IR version {newest[2]}"
        return (
            f"{file} is not supported by ONNX Runtime {onnxruntime.__version__}, which knows the "
            f"format up to {what}: install a newer one, or export the model again with a lower "
            f"opset_version (or onnx.version_converter). It said: {said}"
        )
    if "is not a registered function/op" in said or "No Op registered for" in said:
        return (
            f"{file} uses operators of its own, which need the library that registers them, or an "
            f"export without them. ONNX Runtime said: {said}"
        )
    return f"ONNX Runtime cannot open {file}: {said}"


def _entry(node: Any) -> dict[str, Any]:
    tensor = node.type.startswith("tensor(")
    # An axis without a name is its own: two of them are never taken for one and the same.
    shape = [
        d if isinstance(d, int) and d > 0 else (str(d or UNNAMED.format(i)))
        for i, d in enumerate(node.shape)
    ]
    return {
        "name": node.name,
        "dtype": dtype_name(node.type) if tensor else node.type,
        "shape": shape if tensor else None,
        "source": SOURCE,
    }
