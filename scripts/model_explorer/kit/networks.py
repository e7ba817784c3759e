"""Networks that a state_dict fills: timm, open_clip, ChangeNet, or a class of a source folder."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .absent import needs_of
from .folder import Folder, Refusal, first_line, whole
from .network import Network
from .outcomes import OpenInput
from .roles import PYTHON
from .settle import SETTLE_SHAPE
from .weights import chosen, fill, unknowns_of

NAMEABLE = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def build_network(folder: Folder, what: dict[str, Any]) -> Network:
    """Return the network of ``what`` with the file's weights, checked key by key."""
    for name in what.get("sources") or []:
        path = str(folder.path(name).resolve())
        if path not in sys.path:
            sys.path.insert(0, path)
    if what.get("family") == "transformers":
        from .hub_folder import build

        network = build(folder, what)
        network.unknowns += unknowns_of(network.facts)
        return network
    data = read_file(folder.path(what["file"]), allow_code=bool(what.get("allow_code")))
    if isinstance(data, torch.nn.Module):
        return _own_class(data, {"class": type(data).__name__, "weights": "a pickled module"})
    rooms = {"timm": _timm, "open_clip": _open_clip, "changenet": _changenet, "source": _source}
    if what.get("family") not in rooms:
        raise Refusal("a state_dict needs a network: give explore.name, or source and class_path")
    try:
        network = rooms[what["family"]](folder, what, data)
    except Refusal as refusal:
        # That weights and name do not go together is a fault of neither.
        raise Refusal(str(refusal), refusal.asked or [_meant(what)]) from refusal
    network.unknowns += unknowns_of(network.facts)
    return network


def _meant(what: dict[str, Any]) -> OpenInput:
    """Return what the user must say so that the right network is built."""
    family, architecture = what["family"], what.get("architecture")
    if family == "changenet":
        return OpenInput("the spec that it was trained with", "spec", "specs/baseline_spec.yaml")
    if family == "source":
        given = what.get("class_arguments") or {}
        return OpenInput(f"the arguments of {what['class_path']}", "class_arguments", given)
    return OpenInput("the name of the network that these weights fill", "name",
                     f"{family}:{architecture}")  # fmt: skip


def read_file(path: Path, *, allow_code: bool = False) -> Any:
    """Return a weights file's content; code in a pickle runs only with ``allow_code``."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        try:
            return load_file(str(path))
        except Exception as error:
            raise Refusal(f"not a safetensors file: {first_line(error)}") from error
    try:
        return torch.load(path, map_location="cpu", weights_only=not allow_code)
    except Exception as error:
        raise Refusal(f"torch cannot read {path.name}: {first_line(error)}") from error


def _image(name: str, size: list[Any], source: str) -> dict[str, Any]:
    return {"name": name, "dtype": "float32", "shape": ["batch", *size], "source": source}


def _timm(folder: Folder, what: dict[str, Any], data: Any) -> Network:
    import timm

    state = next(iter(chosen(data, what.get("weights_key")).values()))
    state = {k.removeprefix("module."): v for k, v in state.items()}
    given = dict(what.get("config") or {})
    arguments = {**given.get("model_args", {}), **(what.get("class_arguments") or {})}
    own = given.get("pretrained_cfg") or {}
    try:
        listed = timm.get_pretrained_cfg(what["architecture"])
        config = {**(listed.to_dict() if listed else {}), **own}
        counted = _classes(state, config.get("classifier"))
        if counted is not None and "num_classes" not in arguments:
            arguments["num_classes"] = counted
        first = state.get(f"{config.get('first_conv')}.weight")
        if first is not None and first.dim() == 4 and first.shape[1] != 3:
            arguments.setdefault("in_chans", int(first.shape[1]))
        module = timm.create_model(what["architecture"], pretrained=False, **arguments)
    except Exception as error:
        raise Refusal(f"timm cannot build {what['architecture']}: {first_line(error)}") from error
    facts = {
        "class": type(module).__name__,
        "arguments": arguments,
        **fill(module, data, what.get("weights_key")),
    }
    channels = int(arguments.get("in_chans", 3))
    size = list(arguments.get("img_size") or config["input_size"][1:])
    size = size * 2 if len(size) == 1 else size
    source = "the pretrained_cfg in the folder's config.json" if own else (
        f"timm's pretrained_cfg of {what['architecture']}"
    )  # fmt: skip
    classes = int(getattr(module, "num_classes", 0))
    extra: dict[str, Any] = {
        "postprocess": {
            "kind": "softmax_top" if classes else "embedding",
            "classes": classes,
            "source": "timm: a classifier gives logits" if classes else "timm: no classifier",
        }
    }
    unknowns = []
    if not own:
        unknowns.append(
            {
                "what": "whether the weights were trained with timm's default preprocessing for "
                "this "
                "name (the file does not say)",
                "settle": "the training's data configuration (config.json beside the weights)",
            }
        )
    if channels == len(config["mean"]):
        extra["preprocess"] = {
            "x": {
                "kind": "image", "colour_order": "L" if channels == 1 else "RGB",
                "height_px": size[0], "width_px": size[1],
                "resample": config["interpolation"], "crop_fraction": config["crop_pct"],
                "mean": list(config["mean"]), "std": list(config["std"]), "source": source,
            }
        }  # fmt: skip
    inputs = [_image("x", [channels, *size], source)]
    return Network(module, inputs, facts, unknowns, extra)


def _classes(state: Mapping[str, torch.Tensor], classifier: Any) -> int | None:
    """Return the classes that the file's own classifier has; 0 when it has none."""
    names = [classifier] if isinstance(classifier, str) else list(classifier or [])
    if not names:
        return None
    weight = state.get(f"{names[0]}.weight")
    return int(weight.shape[0]) if weight is not None else 0


def _open_clip(folder: Folder, what: dict[str, Any], data: Any) -> Network:
    import open_clip

    given = dict(what.get("config") or {})
    name = what["architecture"]
    if given.get("model_cfg"):
        name = f"local-dir:{folder.path(what['file']).parent}"
    try:
        module = open_clip.create_model(
            name, load_weights=False, pretrained_image=False, pretrained_text=False
        )
    except Exception as error:
        raise Refusal(
            f"open_clip cannot build {what['architecture']}: {first_line(error)}"
        ) from error
    facts = {"class": type(module).__name__, **fill(module, data, what.get("weights_key"))}
    side = module.visual.image_size
    side = list(side) if isinstance(side, (tuple, list)) else [side, side]
    own = given.get("preprocess_cfg") or {}
    source = (
        "open_clip_config.json" if own else f"open_clip's configuration of {what['architecture']}"
    )
    settings = {**getattr(module.visual, "preprocess_cfg", {}), **own}
    preprocess = {
        "kind": "image", "colour_order": "RGB", "height_px": side[0], "width_px": side[1],
        "resample": settings.get("interpolation", "bicubic"), "crop_fraction": 1.0,
        "resize_mode": settings.get("resize_mode", "shortest"),
        "mean": list(settings["mean"]), "std": list(settings["std"]), "source": source,
    }  # fmt: skip
    words = int(module.context_length)
    text = {"name": "text", "dtype": "int64", "shape": ["batch", words], "source": source}
    text["range"] = [0, int(getattr(module, "vocab_size", 2)) - 1]
    unknowns = [
        {
            "what": "the tokens of real texts (the weights file holds no tokenizer)",
            "settle": "open_clip's tokenizer of this name, which some names load from a hub",
        }
    ]
    extra: dict[str, Any] = {"preprocess": {"image": preprocess}}
    extra["postprocess"] = {"kind": "embedding", "source": "open_clip: image and text features"}
    return Network(module, [_image("image", [3, *side], source), text], facts, unknowns, extra)


def _changenet(folder: Folder, what: dict[str, Any], data: Any) -> Network:
    """The project's own network, from ``refs/``: TAO's Visual ChangeNet (classify)."""
    from deft.changenet.model import build_model
    from deft.changenet.spec import load_spec

    from .changenet import golden_pair

    try:
        spec = load_spec(folder.path(what["spec"]))
        network = build_model(spec)
        facts = {
            "class": "ChangeNet",
            "backbone": spec.model.backbone.type,
            **fill(network, data, what.get("weights_key")),
        }
    except Refusal:
        raise
    except Exception as error:  # a HardStop of the library, whose text says what to do
        raise Refusal(first_line(error)) from error
    return Network(network.model, *golden_pair(spec, what["spec"], facts))


def _source(folder: Folder, what: dict[str, Any], data: Any) -> Network:
    """A class of the linked source folder (or a function, or a method of a class, that makes
    one), made with ``class_arguments``.
    """
    place, _, name = str(what["class_path"]).rpartition(":")
    try:
        made: Any = importlib.import_module(place)
    except ImportError as error:
        raise Refusal(f"{place} cannot be imported: {whole(error)}", needs_of(error)) from error
    except Exception as error:  # the source's own code
        raise Refusal(f"{place} fails while it is imported: {whole(error)}") from error
    for part in name.split("."):
        if not hasattr(made, part):
            raise Refusal(f"{place} has no {name}")
        made = getattr(made, part)
    arguments = what.get("class_arguments") or {}
    try:
        module = made(**arguments)
    except Exception as error:  # the source's own code
        needs = [
            OpenInput(f"argument {n} of {what['class_path']}", f"class_arguments.{n}", None)
            for n in _wanted(made, arguments)
        ]
        raise Refusal(
            f"{what['class_path']} cannot be made: {whole(error)}; set explore.class_arguments",
            needs,
        ) from error
    if not isinstance(module, torch.nn.Module):
        raise Refusal(f"{what['class_path']} gives a {type(module).__name__}, no torch module")
    facts = {"class": what["class_path"], "arguments": arguments}
    return _own_class(module, {**facts, **fill(module, data, what.get("weights_key"))})


def _wanted(made: Any, given: Mapping[str, Any]) -> list[str]:
    """Return the arguments without a default that are not given."""
    try:
        found = inspect.signature(made).parameters.values()
    except (TypeError, ValueError):
        return []
    return [a.name for a in found if a.default is a.empty and a.kind in NAMEABLE
            and a.name not in given]  # fmt: skip


def _own_class(module: Any, facts: dict[str, Any]) -> Network:
    source = "the signature of forward in the source"
    inputs, unknowns = [], []
    for argument in inspect.signature(module.forward).parameters.values():
        if argument.default is argument.empty and argument.kind in NAMEABLE:
            noted = argument.annotation
            kind = noted if isinstance(noted, str) else getattr(noted, "__name__", "")
            entry, unknown = argument_entry(
                argument.name, kind if kind in PYTHON else "Tensor", source
            )
            inputs.append(entry)
            unknowns += unknown
    return Network(module, inputs, facts, unknowns)


def argument_entry(
    name: str, kind: str, source: str
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the entry of one argument by the type in its signature, and what is unknown of it.

    Raises :class:`Refusal` for lists, tuples and dictionaries.
    """
    if kind.startswith("Optional["):
        kind = kind[len("Optional[") : -1]
    if kind in PYTHON:
        return {"name": name, "dtype": PYTHON[kind], "shape": [], "python": kind,
                "source": source}, []  # fmt: skip
    if kind != "Tensor":
        raise Refusal(
            f"argument {name} is a {kind}; tensors, int, float, bool and str can be made or given"
        )
    unknown = {
        "what": f"shape and element type of input {name}: the signature does not state them",
        "settle": SETTLE_SHAPE,
    }
    return {"name": name, "dtype": None, "shape": None, "source": source}, [unknown]
