"""The I/O contract: what the file and its configuration state, what running showed, what is
unknown.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import meanings, sizes
from .arrays import flatten, shape_of, type_of
from .changenet import from_bundle
from .folder import Folder, Refusal
from .metadata import Facts, known
from .models import open_model
from .settle import (
    SETTLE_SHAPE,
    concrete,
    noise,
    settle_by_trial,
    settle_free_axes,
    try_shapes,
)

USER = "the user (explore.contract)"
TRIAL_BATCH = 2
CLASSES = ("softmax_top", "probabilities")


def establish(folder: Folder) -> str:
    """Write ``outputs/io_contract.json``; return the summary line."""
    parameters = folder.parameters
    model = open_model(folder, parameters)
    given = parameters.get("contract") or {}
    unknowns = list(model.unknowns)
    inputs = [dict(entry) for entry in model.inputs]
    apply_user(inputs, given, unknowns)
    stated = known(parameters, model.facts)
    shapes = run_shapes(model, inputs, sizes.hints(parameters, model.facts))
    axes, reason = batch_axes(model, inputs, shapes)
    feed = {i["name"]: noise(shapes[i["name"]], i["dtype"], bounds=i.get("range")) for i in inputs}
    outputs = measured_outputs(model, feed, axes)
    preprocess, postprocess = processing(
        parameters, model, given, unknowns, inputs, outputs, stated, feed
    )
    contract = {
        "schema_version": 1,
        "format": parameters["model"]["format"],
        "inputs": [
            {**i, "run_shape": shapes[i["name"]], "batch_axis": axes.get(i["name"])} for i in inputs
        ],
        "outputs": outputs,
        "batch": {"free": all(a is not None for a in axes.values()), "reason": reason},
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


def apply_user(
    inputs: list[dict[str, Any]], given: dict[str, Any], unknowns: list[dict[str, Any]]
) -> None:
    """Put what the user states of the inputs into the entries; it never overrules the file."""
    named = given.get("inputs") or {}
    known = [i["name"] for i in inputs]
    odd = sorted(set(named) - set(known))
    if odd:
        raise Refusal(f"explore.contract.inputs names {', '.join(odd)}; inputs: {', '.join(known)}")
    for entry in inputs:
        told = named.get(entry["name"]) or {}
        for key in ("shape", "dtype", "range"):
            if told.get(key) is None:
                continue
            if entry.get(key) not in (None, told[key]) and key != "range":
                if key == "dtype" or not compatible(entry["shape"], told["shape"]):
                    raise Refusal(
                        f"explore.contract gives {key} {told[key]} for {entry['name']}, the model "
                        f"states {entry[key]}"
                    )
                entry["stated_shape"] = entry["shape"]
            entry[key] = told[key]
            entry["source"] = f"{USER}, tried by running" if key != "range" else entry["source"]
        if told.get("shape") is not None:
            entry["dtype"] = entry["dtype"] or "float32"
            words = f"input {entry['name']}:"
            unknowns[:] = [u for u in unknowns if words not in u["what"]]


def compatible(stated: list[Any] | None, told: list[Any]) -> bool:
    """Return whether ``told`` only fills free axes of ``stated``."""
    if stated is None:
        return True
    if len(stated) != len(told):
        return False
    return all(not isinstance(s, int) or s == t for s, t in zip(stated, told))  # noqa: B905


def run_shapes(
    model: Any, inputs: list[dict[str, Any]], hints: Facts | None = None
) -> dict[str, list[int]]:
    """Return a shape with batch 1 for every input that the model computes; fills the entries."""
    blank = [i for i in inputs if i["shape"] is None]
    if blank and len(blank) < len(inputs):
        names = ", ".join(i["name"] for i in blank)
        raise Refusal(f"the shape of {names} stands nowhere; settle it with {SETTLE_SHAPE}")
    if blank:
        found = settle_by_trial(model)
        for entry in inputs:
            entry.update(dtype=found["dtype"], trial={k: found[k] for k in ("accepted", "refused")})
            entry["source"] = "running: accepted in a trial, intended shape unknown"
        shapes = {i["name"]: list(found["shape"]) for i in inputs}
        for entry in inputs:
            entry["shape"] = seen_axes([a["shape"] for a in found["accepted"]])
            entry["sizes"] = {
                str(axis): {"size": size, "source": "a trial", "guessed": True}
                for axis, size in enumerate(found["shape"])
                if axis and not isinstance(entry["shape"][axis], int)
            }
        return shapes
    odd = [i for i in inputs if str(i["dtype"]).startswith(("seq", "map", "opt", "sparse"))]
    if odd:
        raise Refusal(
            f"input {odd[0]['name']} is a {odd[0]['dtype']}; only tensors can be synthesised"
        )
    free = any(not isinstance(d, int) for i in inputs for d in i["shape"][1:])
    for entry in inputs:
        entry["sizes"] = {
            str(axis): {**hint, "guessed": False}
            for axis, size in enumerate(entry["shape"])
            if axis and not isinstance(size, int) and (hint := sizes.hint_for(hints, entry, axis))
        }
    side = settle_free_axes(model, inputs) if free else 1
    shapes = {i["name"]: concrete(i["shape"], side=side, sizes=i["sizes"]) for i in inputs}
    if free:
        for entry in inputs:
            for axis, size in enumerate(entry["shape"]):
                if axis and not isinstance(size, int):
                    guess = {"size": side, "source": "a trial", "guessed": True}
                    entry["sizes"].setdefault(str(axis), guess)
    else:
        dtypes = {i["name"]: i["dtype"] for i in inputs}
        said = try_shapes(model, shapes, dtypes)
        if said:
            raise Refusal(f"the model does not compute an input of its stated shape: {said}")
    return shapes


def seen_axes(accepted: list[list[int]]) -> list[int | str]:
    """Return a shape whose axes that more than one size was accepted for are named, not numbered.

    >>> seen_axes([[1, 3, 64, 64], [1, 3, 32, 32]])
    [1, 3, 'axis 2', 'axis 3']
    """
    return [
        sizes[0] if len(set(sizes)) == 1 else f"axis {axis}"
        for axis, sizes in enumerate(zip(*accepted))  # noqa: B905
    ]


def batch_axes(
    model: Any, inputs: list[dict[str, Any]], shapes: dict[str, list[int]]
) -> tuple[dict[str, int | None], str]:
    """Return input -> batch axis (0) or None, and the reason. Two items are tried, never
    assumed.
    """
    none: dict[str, int | None] = {i["name"]: None for i in inputs}
    fixed = [
        i["name"]
        for i in inputs
        if i["shape"] and isinstance(i["shape"][0], int) and "trial" not in i
    ]
    if any(not i["shape"] for i in inputs):
        return none, "an input has no axes"
    if fixed:
        return none, f"axis 0 of {', '.join(fixed)} is fixed by the model"
    two = {n: [TRIAL_BATCH, *s[1:]] for n, s in shapes.items()}
    said = try_shapes(model, two, {i["name"]: i["dtype"] for i in inputs})
    if said:
        return none, f"a batch of {TRIAL_BATCH} was refused: {said}"
    for entry in inputs:
        if "trial" in entry:
            entry["shape"] = ["batch", *entry["shape"][1:]]
    return {i["name"]: 0 for i in inputs}, f"a batch of {TRIAL_BATCH} was computed"


def measured_outputs(
    model: Any, feed: dict[str, Any], axes: dict[str, int | None]
) -> list[dict[str, Any]]:
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
        if entry["name"] not in preprocess:
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
    size = given.get("size_px") or [height, width]
    if not all(isinstance(s, int) for s in size):
        raise Refusal(
            "explore.contract.preprocess needs size_px: [height, width]; the axes are free"
        )
    out = {**meanings.IMAGE, "layout": "NHWC" if last else "NCHW", "source": USER}
    out.update(height_px=size[0], width_px=size[1])
    for key in ("colour_order", "resample", "crop_fraction", "resize_mode", "mean", "std", "scale"):
        if given.get(key) is not None:
            out[key] = given[key]
    return out
