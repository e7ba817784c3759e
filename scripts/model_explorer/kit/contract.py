"""The I/O contract: what the file and its configuration state, what running showed, what is
unknown.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import meanings, sizes, states, texts
from . import shapes as settled
from .arrays import flatten, shape_of, type_of
from .changenet import from_bundle
from .folder import Folder, Refusal
from .metadata import Facts, known
from .models import open_model
from .outcomes import OpenInput
from .settle import feed_of
from .shapes import USER

CLASSES = ("softmax_top", "probabilities")


def establish(folder: Folder) -> str:
    """Write ``outputs/io_contract.json``; return the summary line."""
    parameters = folder.parameters
    model = open_model(folder, parameters)
    given = parameters.get("contract") or {}
    unknowns = list(model.unknowns)
    inputs = [dict(entry) for entry in model.inputs]
    graph = parameters["model"].get("graph") or {}
    for entry in inputs:
        entry["graph"] = graph.get(entry["name"])
    settled.apply_user(inputs, given, unknowns)
    stated = known(parameters, model.facts)
    hints = sizes.hints(parameters, model.facts)
    files = given_arrays(parameters.get("given_arrays") or {}, inputs)
    shapes = settled.run_shapes(model, inputs, given.get("inputs"), files, hints)
    axes, reason = settled.batch_axes(model, inputs, shapes)
    state = states.settle_state(model, inputs, shapes, unknowns)
    spoken_by = parameters["model"].get("tokenizer")
    spoken = texts.parts_of(inputs) if spoken_by else {}
    unknowns += states.guessed_values([i for i in inputs if i["name"] not in spoken])
    feed = feed_of(inputs, shapes)
    outputs = measured_outputs(model, feed)
    if any(axis is not None for axis in axes.values()):
        grown = settled.output_batch_axes(model, inputs, shapes, axes)
        for entry in outputs:
            entry["batch_axis"] = grown.get(entry["name"])
    preprocess, postprocess = processing(
        parameters, model, given, unknowns, inputs, outputs, stated, feed, spoken
    )
    contract = {
        "schema_version": 1,
        "format": parameters["model"]["format"],
        "inputs": [
            {**i, "run_shape": shapes[i["name"]], "batch_axis": axes.get(i["name"])} for i in inputs
        ],
        "outputs": outputs,
        "batch": {"free": any(a is not None for a in axes.values()), "reason": reason},
        "texts": {n: {"part": p, "source": spoken_by} for n, p in spoken.items()},
        "state": state,
        "steps": states.STEPS if state else 1,
        "preprocess": preprocess,
        "postprocess": postprocess,
        "facts": model.facts,
        "device": model.device,
        "trainable": model.trainable,
        "unknown": unknowns,
    }
    folder.write("io_contract", contract)
    shown = "; ".join(f"{i['name']} {shapes[i['name']]} {i['dtype']}" for i in inputs)
    return f"{shown} -> {', '.join(o['name'] for o in outputs)}; {len(unknowns)} unknown"


def given_arrays(found: dict[str, Any], inputs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return name -> shape and type of the user's arrays; a lone .npy is the one input of data."""
    if list(found) != [""]:
        return found
    plain = [i["name"] for i in inputs if i["shape"] != [] and not i.get("python")]
    return {plain[0]: found[""]} if plain else {}


def measured_outputs(model: Any, feed: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the outputs: stated entries where the model has them, and the shapes that came out."""
    stated = {o["name"]: o for o in model.outputs}
    answer = model.run(feed)
    if len(stated) == len(answer):
        named = dict(zip(answer, model.outputs))  # noqa: B905
    else:
        named = {}
    out = []
    for name, value in flatten(answer).items() if not stated else answer.items():
        entry = {
            "name": name,
            "dtype": type_of(value),
            "run_shape": shape_of(value),
            "shape": named.get(name, {}).get("shape"),
            "source": named.get(name, {}).get("source", "running one item"),
        }
        out.append(entry)
    return out


def processing(
    parameters: dict[str, Any],
    model: Any,
    given: dict[str, Any],
    unknowns: list[dict[str, Any]],
    inputs: list[dict[str, Any]],
    outputs: list[dict[str, Any]],
    stated: Facts,
    feed: dict[str, Any],
    spoken: dict[str, str],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return pre- and postprocessing with their sources; what nobody states becomes an unknown."""
    extra = dict(getattr(model, "extra", {}))
    bundle = parameters["model"].get("bundle")
    if bundle:
        extra = from_bundle(bundle, parameters["model"]["bundle_source"])
    preprocess = dict(extra.get("preprocess") or {})
    if given.get("preprocess"):
        for entry in inputs:
            if len(entry["run_shape"] if "run_shape" in entry else entry["shape"] or []) == 4:
                preprocess[entry["name"]] = user_preprocess(given["preprocess"], entry)
    meanings.stated_preprocess(preprocess, stated, inputs)
    postprocess = dict(extra.get("postprocess") or {"kind": "unknown", "source": None})
    if parameters["model"].get("threshold") is not None and postprocess["kind"] == "changenet":
        postprocess["threshold"] = parameters["model"]["threshold"]
        postprocess["threshold_source"] = parameters["model"]["threshold_source"]
    if given.get("postprocess"):
        postprocess = {"kind": given["postprocess"], "source": USER}
    if given.get("labels"):
        postprocess = {**postprocess, "labels": list(given["labels"]), "labels_source": USER}
    postprocess = meanings.stated_postprocess(postprocess, stated, outputs)
    for entry in inputs:
        if (
            entry["role"] == "data"
            and entry["name"] not in preprocess
            and entry["name"] not in spoken
            and not (entry["fill"]["kind"] != "random")
        ):
            unknowns.append(
                {
                    "what": f"how real data becomes input {entry['name']} ({steps_of(entry)})",
                    "settle": "the training or inference code, or explore.contract.preprocess",
                    "need": meanings.input_need(entry, stated),
                }
            )
    if postprocess["kind"] == "unknown":
        unknowns.append(
            {
                "what": "the meaning of the outputs: " + ", ".join(o["name"] for o in outputs),
                "settle": "the model card or code, or explore.contract.postprocess and labels",
                "need": meanings.output_need(outputs, stated, model.run(feed)),
            }
        )
    elif postprocess["kind"] in CLASSES and not postprocess.get("labels"):
        unknowns.append(
            {
                "what": "the names of the classes",
                "settle": "the label list of the training data, in explore.contract.labels",
                "need": meanings.labels_need(int(postprocess.get("classes") or 0)),
            }
        )
    return preprocess, postprocess


def steps_of(entry: dict[str, Any]) -> str:
    """Return which steps are meant by preprocessing, for an input of this rank and type."""
    if len(entry["shape"]) in (4, 5):
        return "size, colour order, scale, normalisation"
    if np.dtype(entry["dtype"]).kind in "iu":
        return "encoding: tokens, categories"
    return "which values, in which order, on which scale"


def user_preprocess(given: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    """Return the user's preprocessing, the size taken from the input's shape when it states one."""
    shape = entry["shape"]
    last = meanings.is_nhwc(shape)
    height, width = (shape[1], shape[2]) if last else (shape[2], shape[3])
    at = (1, 2) if last else (2, 3)
    found = [(entry.get("sizes") or {}).get(str(axis)) for axis in at]
    size = given.get("size_px") or [
        k["size"] if k and not k["guessed"] else s
        for k, s in zip(found, (height, width))  # noqa: B905
    ]
    if not all(isinstance(s, int) for s in size):
        raise Refusal(
            "explore.contract.preprocess needs size_px: [height, width]; the axes are free"
        )
    out = {**meanings.IMAGE, "layout": "NHWC" if last else "NCHW", "source": USER}
    out.update(height_px=size[0], width_px=size[1])
    for key in ("colour_order", "resample", "crop_fraction", "resize_mode", "mean", "std", "scale"):
        if given.get(key) is not None:
            out[key] = given[key]
    channels = meanings.channels_of(shape)
    if channels == 1 and given.get("colour_order") is None:
        out.update(colour_order=meanings.GREY, colour_order_source=meanings.ONE_CHANNEL)
    why = meanings.unfit(out, channels) if channels is not None else None
    if why and entry["role"] == "data":
        raise Refusal(
            f"explore.contract.preprocess does not fit input {entry['name']}, which takes "
            f"{channels} channel{'s' * (channels != 1)}: {why}",
            [_channels_need(entry, channels)],
        )
    return out


def _channels_need(entry: dict[str, Any], channels: int | None) -> OpenInput:
    if channels in (1, 3):
        guess = {"colour_order": meanings.GREY if channels == 1 else "RGB"}
        what = f"how a picture becomes input {entry['name']}"
        return OpenInput(what, "contract.preprocess", guess)
    what = f"arrays for input {entry['name']}, as no picture has {channels} channels"
    return OpenInput(what, "inputs", "my_inputs.npz")
