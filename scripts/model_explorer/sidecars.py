"""Configurations that lie beside a model file and say what it is or how it is used."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deft.changenet.onnx.bundle import PREPROCESSING
from deft.changenet.spec import load_spec
from deft.core import layout
from deft.core.errors import HardStop
from deft.core.files import sha256_file
from deft.core.reading import read_json
from model_explorer.kit.changenet import spec_facts
from model_explorer.request import Request, family_of, located
from model_explorer.served_request import served

TIMM_CONFIG, OPEN_CLIP_CONFIG = "config.json", "open_clip_config.json"
TOKENIZER = "tokenizer.json"
HUB_FILES = (".json", ".txt", ".model")
LARGEST_SMALL = 64 << 20  # bytes of a tokenizer's files
TRAINING_SPEC = "experiment.yaml"
RUN_LEVELS = 4  # a weights file lies at most so deep below its run
BUNDLE_KEYS = {
    "lights",
    "height_px",
    "width_px",
    "join_x",
    "join_y",
    "mean",
    "std",
    "output",
    "threshold",
}


@dataclass
class Identity:
    """Which network a file belongs to. ``files`` are copied beside the model."""

    family: str | None
    architecture: str | None
    files: list[Path] = field(default_factory=list)
    model: dict[str, Any] = field(default_factory=dict)  # further entries of parameters.model


def identity(request: Request, kind: str, file: Path, roots: list[Path]) -> Identity:
    """Return what the name and the files beside the model say.

    Raises HardStop ``config_invalid`` for a state_dict that nothing says the network of.
    """
    family, architecture = family_of(request.name)
    found = Identity(family, architecture)
    _tokenizer(found, file)
    if kind == "onnx":
        _bundle(found, file)
        if family == "changenet" and "bundle" not in found.model:
            _bundle_of_spec(found, request, file, roots)
        return found
    if kind == "served":
        found.family, found.model["served"] = None, served(request)
        return found
    if kind in ("torchscript", "torch_export"):
        return found
    if family == "changenet":
        _changenet(found, request, file, roots)
        return found
    if request.class_path:
        found.family, found.architecture = "source", None
        return found
    _configs(found, file)
    if found.family in (None, "transformers"):
        _hub_folder(found, file)
    if found.family is None:
        _known_name(found, request)
    elif found.family == "timm" and not found.model.get("config"):
        _check_timm(str(found.architecture))
    if found.family is None and not request.allow_code:
        raise HardStop(
            "config_invalid",
            "a state_dict holds numbers only, and nothing says which network they fill",
            file=file,
            fix="set explore.name to timm:NAME, open_clip:NAME or changenet; or explore.source (or "
            "repository) and explore.class_path: package.module:Class",
        )
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        data = read_json(path, not_finite=True)
    except (OSError, HardStop):
        return {}
    return data if isinstance(data, dict) else {}


def _bundle(found: Identity, file: Path) -> None:
    """Take the preprocessing of this project's own hand-off, if it speaks of this file."""
    path = file.with_name(PREPROCESSING)
    facts = _json(path)
    if facts.keys() >= BUNDLE_KEYS:
        found.files.append(path)
        found.model.update(bundle=facts, bundle_source=f"{path.name} beside the model")


def _tokenizer(found: Identity, file: Path) -> None:
    """Take the tokenizer beside the model, or above its ``onnx/``."""
    for place in [file.parent] + ([file.parent.parent] if file.parent.name == "onnx" else []):
        path = place / TOKENIZER
        if path.is_file():
            found.files.append(path)
            found.model["tokenizer"] = TOKENIZER
            return


def _hub_folder(found: Identity, file: Path) -> None:
    """Take what transformers needs of its own folder, if the configuration is one of its."""
    config = _json(file.with_name(TIMM_CONFIG))
    if not isinstance(config.get("model_type"), str):
        if found.family == "transformers":
            raise HardStop(
                "missing_input",
                f"a transformers model is a folder whose {TIMM_CONFIG} has its model_type",
                file=file.with_name(TIMM_CONFIG),
                fix="give the whole folder as explore.checkpoint",
            )
        return
    found.architecture = found.architecture if found.family else "auto"
    found.family = "transformers"
    stem = file.name.partition("-00001-of-")[0]
    others = [p for p in sorted(file.parent.iterdir()) if p.is_file()]
    small = [p for p in others if p.suffix in HUB_FILES and p.stat().st_size < LARGEST_SMALL]
    shards = [p for p in others if p.name.startswith(f"{stem}-") and p.suffix == file.suffix]
    found.files += [p for p in (*small, *shards) if p != file and p not in found.files]


def _configs(found: Identity, file: Path) -> None:
    clip = _json(file.with_name(OPEN_CLIP_CONFIG))
    if clip.get("model_cfg") and found.family in (None, "open_clip"):
        found.family, found.architecture = (
            "open_clip",
            found.architecture or "open_clip_config.json",
        )
        found.files.append(file.with_name(OPEN_CLIP_CONFIG))
        found.model["config"] = {k: clip.get(k) or {} for k in ("model_cfg", "preprocess_cfg")}
        return
    timm = _json(file.with_name(TIMM_CONFIG))
    if isinstance(timm.get("architecture"), str) and found.family in (None, "timm"):
        stated = found.architecture if found.family == "timm" else None
        if stated and stated.split(".")[0] != timm["architecture"]:
            raise HardStop(
                "config_invalid",
                f"explore.name says timm:{stated}, {TIMM_CONFIG} beside the weights says "
                f"{timm['architecture']}",
                file=file.with_name(TIMM_CONFIG),
                fix="correct the name",
            )
        found.family, found.architecture = "timm", stated or timm["architecture"]
        found.files.append(file.with_name(TIMM_CONFIG))
        found.model["config"] = {
            name: timm.get(name) or {} for name in ("model_args", "pretrained_cfg")
        }


def _known_name(found: Identity, request: Request) -> None:
    """Look an unprefixed name up in timm and open_clip, where these are installed."""
    name = request.name or ""
    try:
        import timm

        if timm.is_model(name.split(".")[0]):
            found.family = "timm"
            return
    except ImportError:
        pass
    try:
        import open_clip

        if name in open_clip.list_models():
            found.family = "open_clip"
    except ImportError:
        pass


def _check_timm(name: str) -> None:
    try:
        import difflib

        import timm
    except ImportError:
        return
    plain = name.split(".")[0]
    if not timm.is_model(plain):
        near = difflib.get_close_matches(plain, timm.list_models(), 3)
        raise HardStop(
            "config_invalid",
            f"timm {timm.__version__} has no model {plain!r}",
            fix=f"did you mean {', '.join(near)}?" if near else "see timm.list_models()",
        )


def _changenet(found: Identity, request: Request, file: Path, roots: list[Path]) -> None:
    """Find the experiment spec: given, beside the weights, in their run, or the workspace's."""
    spec = _spec_of(request, file, roots)
    if spec is None:
        raise HardStop(
            "missing_input",
            f"a ChangeNet needs its experiment spec; {TRAINING_SPEC} is not beside the weights "
            f"and the workspace has no {layout.SPEC}",
            file=file,
            fix="set explore.spec to the spec that the file was trained with",
        )
    found.files.append(spec)
    found.model["spec"] = spec.name
    threshold = _threshold(file)
    if threshold:
        found.model.update(threshold)


def _bundle_of_spec(found: Identity, request: Request, file: Path, roots: list[Path]) -> None:
    """Take the preprocessing of an exported ChangeNet from its experiment spec, where one is."""
    spec = _spec_of(request, file, roots)
    if spec is not None:
        found.files.append(spec)
        facts = spec_facts(load_spec(spec), spec.name)
        found.model.update(bundle=facts, bundle_source=f"the experiment spec {spec.name}")


def _spec_of(request: Request, file: Path, roots: list[Path]) -> Path | None:
    if request.spec:
        return located(request.spec, roots, "explore.spec")
    beside = sorted(file.parent.glob("*inference_spec.yaml"))
    tried = [file.with_name(TRAINING_SPEC), *beside]
    tried += [root / layout.SPEC for root in dict.fromkeys([file.parent, *roots])]
    there = [p for p in tried if p.is_file()] or _only_spec([file.parent, *roots], file)
    return there[0] if there else None


def _only_spec(places: list[Path], file: Path) -> list[Path]:
    """Return the one spec of a ``specs/`` folder; raises HardStop where several could be meant."""
    found: dict[Path, None] = {}
    for place in places:
        specs = place / Path(layout.SPEC).parent
        found.update(dict.fromkeys(p.resolve() for p in sorted(specs.glob("*.y*ml"))))
    if len(found) > 1:
        names = ", ".join(p.name for p in found)
        raise HardStop(
            "config_invalid",
            f"a ChangeNet needs its experiment spec, and {len(found)} could be meant: {names}",
            file=file,
            fix=f"say which: explore: {{spec: {next(iter(found))}}}",
        )
    return list(found)


def _threshold(file: Path) -> dict[str, Any]:
    """Return the loop's own threshold for these weights, from the run's ``best_model.json``."""
    for folder in list(file.parents)[:RUN_LEVELS]:
        best = _json(folder / layout.BEST_MODEL_FILE)
        if best.get("threshold") is not None and best.get("checkpoint_sha256") == sha256_file(file):
            return {
                "threshold": float(best["threshold"]),
                "threshold_source": f"{layout.BEST_MODEL_FILE} of run {best.get('run')}",
            }
    return {}
