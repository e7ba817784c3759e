"""Model formats that are known and not explored: what they are called, and how to convert them.

A file of these is whole; saying "damaged" of it would be a mistake of ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deft.core.errors import HardStop

TF2ONNX = "python -m tf2onnx.convert {} --output model.onnx (package tf2onnx)"
FROM_AUTHOR = "export it to ONNX where it was made, and give that file"


@dataclass(frozen=True)
class Unsupported:
    """A format: its name, and how it becomes one that is explored."""

    name: str
    convert: str


TFLITE = Unsupported("TensorFlow Lite", TF2ONNX.format("--tflite {file}"))
HDF5 = Unsupported(
    "HDF5 (Keras)",
    "load it with keras, model.export('saved'), then " + TF2ONNX.format("--saved-model saved"),
)
KERAS = Unsupported("Keras (.keras)", HDF5.convert)
SAVED_MODEL = Unsupported("TensorFlow SavedModel", TF2ONNX.format("--saved-model {folder}"))
GRAPH_DEF = Unsupported(
    "a TensorFlow graph", TF2ONNX.format("--graphdef {file} --inputs NAME:0 --outputs NAME:0")
)
ENGINE = Unsupported(
    "a TensorRT engine: it runs only on the card and version that it was built for",
    "give the ONNX file that it was built from",
)
CORE_ML = Unsupported("Core ML", FROM_AUTHOR)
OPENVINO = Unsupported("OpenVINO's intermediate representation", FROM_AUTHOR)
GGUF = Unsupported("GGUF (llama.cpp)", "give the weights that it was made from (.safetensors)")
ORT = Unsupported("ONNX Runtime's own .ort", "give the ONNX file that it was made from")
PADDLE = Unsupported("PaddlePaddle", "paddle2onnx --model_dir {folder} --save_file model.onnx")
NCNN = Unsupported("ncnn", FROM_AUTHOR)
FLAX = Unsupported("Flax's msgpack", "export it to ONNX, or take the same model for PyTorch")
OLD_TAR = Unsupported(
    "PyTorch's format before 0.4 (a tar)", "load it with torch.load and save model.state_dict()"
)

STARTS = {
    b"\x89HDF\r\n\x1a\n": HDF5, b"ftrt": ENGINE, b"ptrt": ENGINE, b"GGUF": GGUF,
    b"ggml": GGUF, b"7767517\n": NCNN,
}  # fmt: skip
AT_4 = {b"TFL3": TFLITE, b"ORTM": ORT}
SUFFIXES = {
    ".engine": ENGINE, ".plan": ENGINE, ".trt": ENGINE, ".tflite": TFLITE, ".h5": HDF5,
    ".hdf5": HDF5, ".keras": KERAS, ".mlmodel": CORE_ML, ".pdmodel": PADDLE,
    ".pdiparams": PADDLE, ".ort": ORT, ".gguf": GGUF, ".msgpack": FLAX,
}  # fmt: skip


def of_file(path: Path, head: bytes) -> Unsupported | None:
    """Return the format of a file by its first bytes, then by its name; None for others."""
    for start, found in STARTS.items():
        if head.startswith(start):
            return found
    if head[4:8] in AT_4:
        return AT_4[head[4:8]]
    if head[257:262] == b"ustar":
        return OLD_TAR
    if path.name == "saved_model.pb":
        return SAVED_MODEL
    text = head.lstrip()
    if text.startswith(b"<?xml") or text.startswith(b"<net"):
        return OPENVINO if path.suffix.lower() == ".xml" else None
    if path.suffix.lower() == ".pb" and head[:1] == b"\x0a":
        return GRAPH_DEF
    return None


def of_suffix(path: Path) -> Unsupported | None:
    """Return the format that a file's name alone states."""
    return SUFFIXES.get(path.suffix.lower())


def of_folder(path: Path) -> Unsupported | None:
    """Return the format of a folder that is one model, None for others."""
    if (path / "saved_model.pb").is_file():
        return SAVED_MODEL
    if path.suffix.lower() in (".mlpackage", ".mlmodelc"):
        return CORE_ML
    if any(path.glob("*.pdmodel")) or (path / "inference.pdiparams").is_file():
        return PADDLE
    return None


def refusal(path: Path, found: Unsupported) -> HardStop:
    """Return the stop for a format that is not explored."""
    folder = path if path.is_dir() else path.parent
    convert = found.convert.replace("{file}", path.name).replace("{folder}", str(folder))
    return HardStop(
        "spec_invalid",
        f"not supported: {found.name}. Nothing is wrong with the file",
        file=path,
        fix=f"convert it: {convert}; then give the result as explore.checkpoint",
    )
