"""Which format a model file has, by its content; what is broken, cut off or dangerous is refused
here.

Nothing of the file is run and no network is built.
"""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deft.core import pickles
from deft.core.errors import HardStop
from deft.core.reading import read_json
from deft.core.weight_files import endless_name
from model_explorer import unsupported
from model_explorer.exported import check_exported
from model_explorer.onnx_graph import first_reads

SUFFIXES = (".onnx", ".pt", ".pth", ".pt2", ".ckpt", ".safetensors", ".bin", ".ts", ".torchscript",
            ".engine", ".plan", ".jit")  # fmt: skip
KNOWN = "ONNX, TorchScript, torch.export (.pt2), or a state_dict (.pt, .pth, .ckpt, .safetensors)"
HEAD_BYTES = 512
WORDS = 200
MOST_UNPACKED = 100  # times the size of the file: a zip bomb beyond


@dataclass(frozen=True)
class ModelFile:
    """A recognised file. ``data_files`` lie beside it and belong to it; ``facts`` go to the
    reports.
    """

    path: Path
    format: str
    data_files: list[Path] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    graph: dict[str, dict[str, Any]] = field(default_factory=dict)  # of ONNX, see onnx_graph


def choose(path: Path) -> Path:
    """Return the model file of a folder (itself for a file); raises HardStop unless there is
    one.
    """
    if path.is_file():
        return path
    other = unsupported.of_folder(path)
    if other:
        raise unsupported.refusal(path, other)
    files = [p for p in sorted(path.iterdir()) if p.is_file() and p.suffix.lower() in SUFFIXES]
    shards = [p for p in files if "-of-" in p.stem and (path / f"{p.name.partition('-0')[0]}"
              f"{p.suffix}.index.json").is_file()]  # fmt: skip
    if shards and len(shards) == len(files):
        return shards[0]
    hub = [p for p in files if p.name in ("model.safetensors", "pytorch_model.bin")]
    if hub and (path / "config.json").is_file():
        return hub[0]  # the same weights twice; the one that runs no code comes first
    named = path / "preprocessing.json"
    if named.is_file() and len(files) > 1:
        try:
            wanted = read_json(named, {"file": str})["file"]
        except (OSError, HardStop):
            wanted = None
        files = [p for p in files if p.name == wanted] or files
    if not files:
        raise HardStop(
            "missing_input",
            f"the folder holds no model file ({', '.join(SUFFIXES[:6])}, …)",
            file=path,
            fix="give the model file itself",
        )
    if len(files) > 1:
        raise HardStop(
            "config_invalid",
            f"the folder holds {len(files)} model files: {', '.join(p.name for p in files[:5])}",
            file=path,
            fix="set explore.checkpoint to the one that is meant",
        )
    return files[0]


def identify(path: Path, *, allow_code: bool = False) -> ModelFile:
    """Return what a file is; raises HardStop ``spec_invalid`` (broken, unknown, would run code) or
    ``missing_input`` (a file of external data is not there)."""
    size = path.stat().st_size
    if size == 0:
        raise _broken(path, "the file is empty")
    with path.open("rb") as handle:
        head = handle.read(HEAD_BYTES)
    if head.startswith(b"version https://git-lfs"):
        raise _broken(path, "this is git-lfs's pointer, not the file itself", "run: git lfs pull")
    other = unsupported.of_file(path, head)
    if other:
        raise unsupported.refusal(path, other)
    if head.startswith(b"PK"):
        return _archive(path, allow_code)
    if path.suffix.lower() == ".safetensors":
        return _safetensors(path, size, head)
    if path.suffix.lower() == ".onnx":
        return _onnx(path)
    if head[:1] == b"\x80" and head[1:2] <= b"\x05":
        return _weights(path, allow_code)
    if _looks_like_safetensors(head, size):
        return _safetensors(path, size, head)
    if _looks_like_onnx(head):
        return _onnx(path)
    named = unsupported.of_suffix(path)
    if named:
        raise unsupported.refusal(path, named)
    raise HardStop(
        "spec_invalid",
        f"not a model file that is known, or damaged at its beginning; known: {KNOWN}",
        file=path,
        fix="check the download (compare its SHA-256 with the publisher's)",
    )


def _broken(path: Path, what: str, fix: str | None = None) -> HardStop:
    return HardStop(
        "spec_invalid",
        what,
        file=path,
        fix=fix or "copy or download the file again; compare SHA-256",
    )


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn whatever the readers of a damaged archive raise into one stop."""
    try:
        yield
    except (HardStop, MemoryError):
        raise
    except Exception as error:  # of zipfile, its unpackers, struct, json …
        raise _broken(path, f"the file is cut off or damaged ({_first(error)})") from None


def _archive(path: Path, allow_code: bool) -> ModelFile:
    with _readable(path):
        with zipfile.ZipFile(path) as archive:
            names = {n.split("/", 1)[-1] for n in archive.namelist()}
            unpacked = sum(i.file_size for i in archive.infolist())
        if unpacked > MOST_UNPACKED * path.stat().st_size:
            raise ValueError(f"it would unpack to {unpacked} bytes; models are stored unpacked")
        exported = "archive_format" in names or "serialized_exported_program.json" in names
        if exported and not allow_code:
            check_exported(str(path))
    if {"model.weights.h5", "config.json"} <= names:
        raise unsupported.refusal(path, unsupported.KERAS)
    if exported:
        return ModelFile(path, "torch_export")
    if "constants.pkl" in names and any(n.startswith("code/") for n in names):
        # torch's C++ reader makes tensors and TorchScript objects only; it knows no Python.
        return ModelFile(path, "torchscript")
    if "data.pkl" in names:
        length = endless_name(path)
        if length:
            raise _broken(path, f"a class in it has a name of {length} letters")
        return _weights(path, allow_code)
    raise _broken(path, f"a zip archive that is no model; known: {KNOWN}")


def _weights(path: Path, allow_code: bool) -> ModelFile:
    """Check that torch reads the file without running code; no numbers are kept."""
    if allow_code:
        return ModelFile(path, "state_dict", facts={"loading": "runs code (explore.allow_code)"})
    import pickle

    import torch

    try:
        # Mapped, not on the device "meta": there a spoiled record divides by zero in torch and
        # ends the process.
        mapped = zipfile.is_zipfile(path)
        data = torch.load(str(path), map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        with _readable(path):
            names = _lookups(path)
        if names:
            raise pickles.refuse(names, path) from None
        raise _broken(
            path, f"the file is cut off, damaged or no torch file ({_first(error)})"
        ) from None
    except Exception as error:  # torch's readers fail in many ways on a cut file
        raise _broken(path, f"the file is cut off or damaged ({_first(error)})") from None
    if not isinstance(data, dict):
        raise _broken(
            path,
            f"the file holds a {type(data).__name__}, no state_dict",
            "save model.state_dict()",
        )
    others = {k: v for k, v in data.items() if isinstance(v, (str, int, float)) and str(k) != ""}
    facts = {f"entry {k}": str(v)[:80] for k, v in sorted(others.items(), key=lambda i: str(i[0]))}
    return ModelFile(path, "state_dict", facts=dict(list(facts.items())[:12]))


def _lookups(path: Path) -> list[str]:
    if zipfile.is_zipfile(path):
        return pickles.in_archive(str(path))
    return pickles.unsafe(path.read_bytes())


def _first(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:WORDS] if lines else type(error).__name__


def _looks_like_safetensors(head: bytes, size: int) -> bool:
    length = struct.unpack("<Q", head[:8].ljust(8, b"\0"))[0]
    return head[8:9] == b"{" and length + 8 <= size


def _safetensors(path: Path, size: int, head: bytes) -> ModelFile:
    if len(head) < 9:
        raise _broken(path, f"the file is cut off ({size} bytes)")
    length = struct.unpack("<Q", head[:8])[0]
    if length + 8 > size:
        raise _broken(
            path, f"the file is cut off: its header wants {length} bytes, the file has {size}"
        )
    with path.open("rb") as handle:
        handle.seek(8)
        try:
            header = json.loads(handle.read(length))
            ends = [v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"]
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise _broken(path, f"not a safetensors file ({_first(error)})") from None
    wanted = 8 + length + max(ends, default=0)
    if wanted > size:
        raise _broken(path, f"the file is cut off: {wanted} bytes are announced, {size} are there")
    meta = header.get("__metadata__") or {}
    return ModelFile(
        path, "state_dict", facts={f"metadata {k}": str(v)[:80] for k, v in meta.items()}
    )


def _looks_like_onnx(head: bytes) -> bool:
    # Field 1 (ir_version) as a varint below 32 begins every ONNX file that exporters write.
    return len(head) > 2 and head[0] == 0x08 and head[1] < 32


def _onnx(path: Path) -> ModelFile:
    import onnx

    from model_explorer.onnx_facts import precision

    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's own classes, and what its readers let through
        raise _broken(path, f"the ONNX file is cut off or damaged ({_first(error)})") from None
    if not model.graph.node or not model.opset_import:
        raise _broken(path, "the ONNX file is cut off or damaged (no graph in it)")
    data_files = _external(path, model)
    newest = {"": onnx.defs.onnx_opset_version(), "ai.onnx": onnx.defs.onnx_opset_version()}
    newer = model.ir_version > onnx.IR_VERSION or any(
        o.version > newest.get(o.domain, o.version) for o in model.opset_import
    )  # what the checker does not know yet is no fault; the runtime says whether it knows it
    if not data_files and not newer:
        try:
            onnx.checker.check_model(model)
        except Exception as error:
            raise _broken(path, f"the ONNX file is invalid ({_first(error)})") from None
    opsets = ", ".join(f"{o.domain or 'ai.onnx'} {o.version}" for o in model.opset_import)
    facts = {
        "opsets": opsets,
        "nodes": len(model.graph.node),
        **precision(model.graph),
        "producer": f"{model.producer_name} {model.producer_version}".strip() or None,
    }
    return ModelFile(path, "onnx", data_files, facts, first_reads(model))


def _tensors(graph: Any) -> Any:
    yield from getattr(graph, "initializer", ())  # a function has none
    for sparse in getattr(graph, "sparse_initializer", ()):
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(
                attribute.graphs
            ):
                yield from _tensors(inner)


def _external(path: Path, model: Any) -> list[Path]:
    """Return the files of external data; each must lie beside the model and be long enough."""
    wanted: dict[str, int] = {}
    for tensor in (t for part in (model.graph, *model.functions) for t in _tensors(part)):
        if tensor.data_location != tensor.EXTERNAL:
            continue
        entries = {e.key: e.value for e in tensor.external_data}
        try:
            end = int(entries.get("offset") or 0) + int(entries.get("length") or 0)
        except ValueError:
            raise _broken(path, f"tensor {tensor.name!r} has no readable place") from None
        name = entries.get("location") or ""
        wanted[name] = max(wanted.get(name, 0), end)
    out = []
    for name, end in sorted(wanted.items()):
        file = (path.parent / name).resolve()
        if Path(name).is_absolute() or path.parent.resolve() not in file.parents:
            raise HardStop(
                "path_escape", f"external data {name!r} leads outside the model's folder", file=path
            )
        if not file.is_file():
            raise HardStop(
                "missing_input",
                f"the ONNX file keeps numbers in {name!r}, which is not beside it",
                file=file,
                fix=f"put {name} into {path.parent}",
            )
        if file.stat().st_size < end:
            raise _broken(file, f"the external data is cut off: {end} bytes are wanted, "
                          f"{file.stat().st_size} are there")  # fmt: skip
        out.append(file)
    return out
