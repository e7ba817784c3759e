"""What inputs and outputs mean: by the metadata where it says so, else as a guess that is to be
confirmed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .metadata import Facts
from .outcomes import OpenInput, key

IMAGE = {"kind": "image", "colour_order": "RGB", "resample": "bilinear", "crop_fraction": 1.0}
CHANNELS = (1, 3, 4)
GREY = "L"  # the colour order of one channel, as Pillow calls it
ONE_CHANNEL = "its shape has one channel"
SUM_TOLERANCE = 1e-3
SOUND = ("audio", "mel", "spec", "frame", "wav", "time")  # of which maps are made, as of pictures
BOX = 4  # x, y, width, height before the scores of the classes


def stated_preprocess(
    preprocess: dict[str, Any], stated: Facts, inputs: list[dict[str, Any]]
) -> None:
    """Add the rule of a preprocessor's configuration for the one input of pictures."""
    if "preprocess" not in stated:
        return
    pictures = [i for i in inputs if len(i["shape"] or []) == 4 and i["name"] not in preprocess]
    if len(pictures) != 1:
        return
    rule = dict(stated["preprocess"]["value"])
    last = is_nhwc(pictures[0]["shape"])
    channels = channels_of(pictures[0]["shape"])
    if channels == 1:
        rule.update(colour_order=GREY, colour_order_source=ONE_CHANNEL)
    if channels is not None and unfit(rule, channels):
        return  # it speaks of other pictures, so how they become this input is asked for
    preprocess[pictures[0]["name"]] = {
        **IMAGE, "layout": "NHWC" if last else "NCHW", **rule,
        "source": stated["preprocess"]["source"],
    }  # fmt: skip


def channels_of(shape: list[Any]) -> int | None:
    """Return the channels of a picture's shape, None where they are free."""
    found = shape[-1] if is_nhwc(shape) else shape[1]
    return found if isinstance(found, int) else None


def unfit(rule: dict[str, Any], channels: int) -> str | None:
    """Return why a rule makes no picture of so many channels, None where it does."""
    order = rule["colour_order"]
    made = 1 if order == GREY else 3
    if made != channels:
        return f"colour_order {order} makes {made} of them"
    for name in ("mean", "std"):
        count = len(rule.get(name) or [0])
        if count not in (1, channels):
            return f"{name} has {count} numbers"
    return None


def is_nhwc(shape: list[Any]) -> bool:
    """Return whether the channels of a picture's shape come last."""
    return shape[-1] in CHANNELS and shape[1] not in CHANNELS


def stated_postprocess(
    rule: dict[str, Any], stated: Facts, outputs: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the rule with the decoding and the names that the metadata states, where they fit."""
    rule = dict(rule)
    names = stated.get("labels")
    if rule["kind"] == "unknown" and "decode" in stated:
        kind = stated["decode"]["value"]
        if kind != "boxes" or (names and fits(names["value"], outputs, BOX)):
            rule.update(kind=kind, source=stated["decode"]["source"])
    extra = BOX if rule["kind"] == "boxes" else 0
    decoded = rule["kind"] in ("softmax_top", "sigmoid", "probabilities", "boxes")
    if names and decoded and not rule.get("labels") and fits(names["value"], outputs, extra):
        rule.update(labels=list(names["value"]), labels_source=names["source"])
    return rule


def fits(names: list[str], outputs: list[dict[str, Any]], extra: int = 0) -> bool:
    """Return whether the first output has a number (of boxes: a row) for every name."""
    shape = outputs[0]["run_shape"] if outputs else None
    if not isinstance(shape, list) or not shape:
        return False
    if extra:
        return len(shape) == 3 and shape[1] == len(names) + extra
    return shape[-1] == len(names) and int(np.prod(shape)) == len(names)


def input_need(entry: dict[str, Any], stated: Facts) -> dict[str, Any]:
    """Return the open input for how real data becomes an input: pictures are guessed, else files
    are asked for.
    """
    shape = entry.get("shape") or []
    told = f"{entry['name']} {shape}".lower()
    sound = any(word in told for word in SOUND)
    if not sound and len(shape) == 4 and (is_nhwc(shape) or shape[1] in CHANNELS):
        channels = shape[-1] if is_nhwc(shape) else shape[1]
        guess: dict[str, Any] = {
            "colour_order": GREY if channels == 1 else "RGB",
            "scale": round(1 / 255, 8),
        }
        if "ultralytics" in str(stated.get("author", {}).get("value", "")).lower():
            guess["resize_mode"] = "longest"
        if "size_px" in stated:
            guess["size_px"] = stated["size_px"]["value"]
        return OpenInput(
            f"how a picture becomes input {entry['name']}", "contract.preprocess", guess,
            why="pictures are often given as numbers from 0 to 1",
        ).as_dict()  # fmt: skip
    return OpenInput(
        f"real values of input {entry['name']} (.npy, or .npz with the inputs' names)", "inputs",
        "my_inputs",
    ).as_dict()  # fmt: skip


def output_need(
    outputs: list[dict[str, Any]], stated: Facts, answer: dict[str, Any]
) -> dict[str, Any] | None:
    """Return the open input for the meaning of the outputs, None where no kind that can be stated
    looks likely; ``answer``: of one run.
    """
    first = next(iter(answer.values()), None)
    if not isinstance(first, np.ndarray) or first.dtype.kind != "f" or first.ndim == 0:
        return None
    if first.size < 2 or first.size != first.shape[-1]:  # maps, sequences, boxes, one score
        return None
    kind, why = "embedding", f"{first.size} numbers that do not add up to 1, and no names"
    if float(np.nanmin(first)) >= 0 and abs(float(np.nansum(first)) - 1) < SUM_TOLERANCE:
        kind, why = "probabilities", f"its {first.size} numbers add up to 1"
    elif "labels" in stated and fits(stated["labels"]["value"], outputs):
        kind, why = "softmax_top", f"there are {first.size} names and {first.size} numbers"
    names = ", ".join(o["name"] for o in outputs)
    return OpenInput(
        f"the meaning of the outputs {names}", "contract.postprocess", kind, why=why
    ).as_dict()


def labels_need(count: int) -> dict[str, Any]:
    """Return the open input for the names of the classes."""
    what = f"the names of the {count} classes" if count else "the names of the classes"
    return OpenInput(what, key("contract", "labels"), "labels.txt").as_dict()
