"""What a spec of NVIDIA's may say and this loop does otherwise: taken, and said once per key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deft.changenet.spec.backbones import needs_of
from deft.changenet.spec.build import SpecProblem
from deft.changenet.spec.schema import MISSING, DecodeHead

if TYPE_CHECKING:
    from deft.changenet.spec import Spec

OLDER_NAMES = {"model.classify.diff_module": "difference_module"}  # TAO Deploy's own examples
ANY_BATCH = -1  # of a TensorRT engine

_ENGINE_FILE = "scores come from PyTorch or ONNX Runtime (setting runtime), never from TensorRT"
_ONE_DEVICE = "scoring takes the one device of the setting device"
# Keys that no result of the native engine depends on -> what counts instead.
NO_EFFECT = {
    "encryption_key": "weights are never encrypted",
    "evaluate.trt_engine": _ENGINE_FILE,
    "inference.trt_engine": _ENGINE_FILE,
    "wandb.enable": "figures go to the CSV curves and, with train.tensorboard.enabled, to "
    "TensorBoard",
    "train.seed": "the setting seed counts",
    **{
        f"{part}.{name}": _ONE_DEVICE
        for part in ("evaluate", "inference")
        for name in ("num_gpus", "gpu_ids", "num_nodes")
    },
    "export.format": "the hand-off is ONNX",
    "export.serialize_nvdsinfer": "no DeepStream configuration is written",
}
PARTS = {
    "gen_trt_engine": "no TensorRT engine is built here; TAO Deploy builds one from "
    "best_model/model.onnx",
    "quantize": "TAO's quantization is not run; the setting int8 tries this loop's own",
}


@dataclass(frozen=True)
class Note:
    """A key that is taken without effect, or under another name; ``text`` says what counts."""

    key: str
    text: str


def normalised(data: dict[str, Any]) -> tuple[dict[str, Any], list[Note]]:
    """Return plain data (references resolved) as it is built from, and what was changed.

    Older names become the present ones; what is not given and whose default could not be trained
    gets the value that fits. Changes ``data`` itself. Raises :class:`SpecProblem` where an older
    and a present name differ.
    """
    notes = []
    for dotted, name in OLDER_NAMES.items():
        *parents, old = dotted.split(".")
        owner = part_of(data, *parents)
        if old not in owner:
            continue
        value = owner.pop(old)
        if owner.setdefault(name, value) != value:
            raise SpecProblem(
                f"{dotted} {value!r} and {'.'.join(parents)}.{name} {owner[name]!r} are one key "
                "under two names",
                f"remove {dotted}",
            )
        notes.append(Note(dotted, f"read as {'.'.join(parents)}.{name}"))
    classify = part_of(data, "dataset", "classify")
    if "gen_trt_engine" in data and classify.get("batch_size") == ANY_BATCH:
        del classify["batch_size"]
        notes.append(
            Note(
                "dataset.classify.batch_size",
                f"{ANY_BATCH} is for a TensorRT engine; a training takes TAO's default",
            )
        )
    if part_of(data, "model", "classify").get("difference_module") == "learnable":
        backbone = part_of(data, "model", "backbone").get("type")
        needs = needs_of(backbone) if isinstance(backbone, str) else None
        if needs is not None and needs.strides != tuple(DecodeHead().feature_strides):
            notes += _filled(data, "model.decode_head.feature_strides", list(needs.strides))
        notes += _filled(data, "train.classify.loss", "ce")
    return data, notes


def _filled(data: dict[str, Any], dotted: str, value: Any) -> list[Note]:
    """Set a key that is not given, where its parents allow it."""
    *parents, last = dotted.split(".")
    owner: Any = data
    for name in parents:
        if owner.get(name) is None:
            owner[name] = {}
        owner = owner[name]
        if not isinstance(owner, dict):
            return []
    if owner.get(last) is not None:
        return []
    owner[last] = value
    return [Note(dotted, f"is not given: {value} goes with the rest of model")]


def without_effect(spec: Spec, standard: Spec) -> Iterator[Note]:
    """Yield the keys of a native spec that ask for something and change no result.

    ``standard``: a spec with every default; a key that says no more than that is not told.
    """
    for dotted, instead in NO_EFFECT.items():
        value, default = _value(spec, dotted), _value(standard, dotted)
        if value not in (default, "", MISSING):
            yield Note(dotted, f"has no effect: {instead}")
    for name, instead in PARTS.items():
        if getattr(spec, name):
            yield Note(name, f"has no effect: {instead}")


def switched_off(spec: Spec) -> Iterator[Note]:
    """Yield what TAO's containers are not given although the spec asks for it."""
    if spec.wandb.enable:
        yield Note(
            "wandb.enable",
            "is switched off in the containers, which get no account of yours; "
            "train.tensorboard.enabled writes the same figures",
        )


def part_of(data: Any, *names: str) -> dict[str, Any]:
    """Return a part of plain data, or an empty one where it is absent or holds no keys."""
    for name in names:
        data = data.get(name) if isinstance(data, dict) else None
    return data if isinstance(data, dict) else {}


def _value(spec: Any, dotted: str) -> Any:
    for name in dotted.split("."):
        spec = getattr(spec, name)
    return spec
