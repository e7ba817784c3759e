"""What a file's metadata and the configurations beside it say: names, size, decoding, licence.

Every fact is a ``{"value", "source"}``. Nothing is concluded from a name of a file or of a network.
"""

from __future__ import annotations

import ast
import json
from typing import Any

MOST_NAMES, MOST_LETTERS = 100_000, 4 << 20
NAME_KEYS = ("names", "class_names", "classes", "labels", "id2label", "character", "label_list",
             "target_labels_space")  # fmt: skip
SIZE_KEYS = ("imgsz", "image_size", "img_size", "input_size", "image_shape", "img_shape")
LENGTH_KEYS = ("max_seq_length", "model_max_length", "max_position_embeddings", "n_positions")
LICENCE_KEYS = ("license", "licence")
# What a licence's text or name says, for telling whether two are the same.
FAMILIES = (
    ("AGPL", ("agpl", "affero")), ("LGPL", ("lgpl", "lesser general public")),
    ("GPL", ("gpl", "gnu general public")), ("Apache", ("apache",)),
    ("CC BY-NC", ("by-nc", "noncommercial", "non-commercial")), ("CC BY", ("cc-by", "cc by")),
    ("BSD", ("bsd", "redistributions in binary form")), ("MPL", ("mpl-2", "mozilla public")),
    ("MIT", ("mit license", "mit licence", "permission is hereby granted, free of charge")),
)  # fmt: skip
ENDLESS = 1 << 20  # tokenizers write 1e30 for "no limit"
RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers
PICTURE_KEYS = (
    *("image_mean", "image_std", "do_resize", "do_rescale", "do_normalize", "do_center_crop"),
    *("rescale_factor", "crop_size", "crop_pct", "size", "resample"),
)
READ = {
    *NAME_KEYS, *LENGTH_KEYS, *LICENCE_KEYS, *PICTURE_KEYS, "architectures", "task", "problem_type",
    "sampling_rate", "sample_rate", "spec", "pretrained_cfg",
}  # fmt: skip
ONNX = "the ONNX metadata"
EXTRA = "extra/config.txt"  # in an archive of TorchScript
Facts = dict[str, dict[str, Any]]


def is_read(key: str) -> bool:
    """Return whether a configuration's key is one that is read here; the others are not kept."""
    return key in READ or key.endswith(SIZE_KEYS)


def known(parameters: dict[str, Any], facts: dict[str, Any]) -> Facts:
    """Return what is stated, by name: ``labels``, ``task``, ``size_px`` [height, width],
    ``length``, ``stride``, ``preprocess``, ``decode``, ``licence``, ``author``, ``version``,
    ``description``, ``sampling_rate_hz``.

    ``parameters``: of ``outputs/parameters.json``; ``facts``: of the opened model.
    """
    beside = parameters["model"].get("beside") or {}
    configs = beside.get("configs") or {}
    out: Facts = {}
    _from_file(out, facts.get("metadata") or {}, ONNX)
    _from_file(out, configs.get(EXTRA) or {}, f"{EXTRA} in the file")
    picture = configs.get("preprocessor_config.json")
    if picture:
        _from_preprocessor(out, picture, "preprocessor_config.json")
    for name, data in configs.items():
        if name not in ("preprocessor_config.json", EXTRA):
            _from_config(out, data, name)
    labels = beside.get("labels") or {}
    if labels.get("names"):
        _put(out, "labels", list(labels["names"]), str(labels["source"]))
    for entry in beside.get("licences") or []:
        _licence(out, entry["licence"], entry["source"])
    return out


def _put(out: Facts, name: str, value: Any, source: str) -> None:
    if value not in (None, "", [], {}):
        out.setdefault(name, {"value": value, "source": source})


def _licence(out: Facts, text: Any, source: str) -> None:
    if isinstance(text, str) and text.strip():
        found = out.setdefault("licence", {"value": [], "source": "several"})
        found["value"].append({"licence": " ".join(text.split())[:120], "source": source})


def _from_file(out: Facts, metadata: dict[str, Any], source: str) -> None:
    """Read what exporters write into the file itself."""
    low = {key.lower(): value for key, value in metadata.items()}
    for key in NAME_KEYS:
        _put(out, "labels", names_in(low.get(key), key), f"{key} in {source}")
    for key in SIZE_KEYS:
        _put(out, "size_px", size_in(low.get(key)), f"{key} in {source}")
    for key in ("task", "author", "version", "description", "date", "docs"):
        value = low.get(key)
        _put(out, key, value if isinstance(value, str) else None, source)
    stride = literal(low.get("stride"))
    _put(out, "stride", stride if isinstance(stride, int) else None, source)
    for key in LICENCE_KEYS:
        _licence(out, low.get(key), source)
    task = low.get("task")
    if "ultralytics" in f"{low.get('author')} {low.get('docs')}".lower():
        kind = {"classify": "probabilities", "detect": "boxes"}.get(str(task))
        _put(out, "decode", kind, f"task {task} of an Ultralytics export, in {source}")


def _from_preprocessor(out: Facts, data: dict[str, Any], source: str) -> None:
    """Read what HuggingFace's image processors and feature extractors write."""
    _put(out, "sampling_rate_hz", _number(data.get("sampling_rate")), source)
    mean, std = _numbers(data.get("image_mean")), _numbers(data.get("image_std"))
    crop = data.get("crop_size") if data.get("do_center_crop") else None
    size = size_in(crop) or size_in(data.get("size"))
    if not size or not (mean or "do_rescale" in data or "do_resize" in data):
        return
    _put(out, "size_px", size, source)
    rule: dict[str, Any] = {"colour_order": "RGB", "height_px": size[0], "width_px": size[1]}
    resample = data.get("resample")
    rule["resample"] = RESAMPLE.get(resample if isinstance(resample, int) else -1, "bilinear")
    shortest = _number(_part(data, "size").get("shortest_edge"))
    if shortest and crop:
        rule.update(resize_mode="shortest", crop_fraction=min(1.0, size[0] / shortest))
    elif shortest:
        whole = min(1.0, _number(data.get("crop_pct")) or 1.0)
        rule.update(resize_mode="shortest", crop_fraction=whole)
    else:
        rule["resize_mode"] = "squash"
    factor = _number(data.get("rescale_factor"))
    if data.get("do_rescale") is False:
        rule["scale"] = 1.0
    elif factor:
        rule["scale"] = factor
    if data.get("do_normalize", True) and mean and std and min(std) > 0:
        rule.update(mean=mean, std=std)
    _put(out, "preprocess", rule, source)


def _number(value: Any) -> float | None:
    """Return a finite number above 0 as it is, None for anything else."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if good and 0 < value < ENDLESS else None


def _numbers(value: Any) -> list[float] | None:
    """Return one to four finite numbers, None for anything else."""
    if not isinstance(value, list) or not 0 < len(value) <= 4:
        return None
    good = all(isinstance(v, (int, float)) and abs(v) < ENDLESS for v in value)
    return [float(v) for v in value] if good else None


def _from_config(out: Facts, data: dict[str, Any], source: str) -> None:
    for key in NAME_KEYS:
        _put(out, "labels", names_in(data.get(key), key), f"{key} of {source}")
    own, inner = _part(data, "pretrained_cfg"), _part(data, "spec")
    for part in (data, own):
        for key in part:  # PaddleOCR's are rec_img_shape, cls_image_shape
            if str(key).endswith(SIZE_KEYS):
                _put(out, "size_px", size_in(part[key]), f"{key} of {source}")
    for key in LENGTH_KEYS:
        length = data.get(key)
        if isinstance(length, int) and not isinstance(length, bool) and 0 < length < ENDLESS:
            _put(out, "length", length, f"{key} of {source}, the longest it takes")
    for key in ("sampling_rate", "sample_rate"):
        hz = _number(data.get(key)) or _number(inner.get(key))
        _put(out, "sampling_rate_hz", hz, f"{key} of {source}")
    for key in LICENCE_KEYS:
        _licence(out, data.get(key) or own.get(key), source)
    heads = data.get("architectures")
    head = str(heads[0]) if isinstance(heads, list) and heads else ""
    task = data.get("task")
    _put(out, "task", task if isinstance(task, str) and task else head, source)
    if data.get("problem_type") == "multi_label_classification":
        _put(out, "decode", "sigmoid", f"problem_type of {source}")
    elif head.endswith(("ForImageClassification", "ForSequenceClassification",
                        "ForAudioClassification")):  # fmt: skip
        _put(out, "decode", "softmax_top", f"architectures of {source}: {head}")
    elif head.endswith("Model"):
        _put(out, "decode", "embedding", f"architectures of {source}: {head}")


def _part(data: dict[str, Any], name: str) -> dict[str, Any]:
    found = data.get(name)
    return found if isinstance(found, dict) else {}


def licence_family(text: str) -> str | None:
    """Return the kind of a licence from its name or its text, None for one that is not known.

    >>> licence_family("GNU AFFERO GENERAL PUBLIC LICENSE"), licence_family("MIT")
    ('AGPL', 'MIT')
    """
    low = " ".join(text.lower().split())
    if low in ("mit", "expat"):
        return "MIT"
    return next((name for name, marks in FAMILIES if any(m in low for m in marks)), None)


def licences_disagree(stated: Facts) -> list[dict[str, str]]:
    """Return the stated licences when they are not all of one known kind; else nothing."""
    said = (stated.get("licence") or {}).get("value") or []
    kinds = {licence_family(entry["licence"]) for entry in said} - {None}
    return list(said) if len(kinds) > 1 else []


def literal(text: Any) -> Any:
    """Return what a text spells as JSON or as a Python literal; itself where it spells nothing."""
    if not isinstance(text, str) or len(text) > MOST_LETTERS:
        return text
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
    return text


def names_in(value: Any, key: str) -> list[str] | None:
    """Return names of classes by their number: a list, numbered entries, lines, or commas.

    >>> names_in("{0: 'cat', 1: 'dog'}", "names")
    ['cat', 'dog']
    """
    # One character a line may be a space or a quote: its lines are no literal.
    if key != "character" or not isinstance(value, str) or "\n" not in value:
        value = literal(value)
    if isinstance(value, str) and "\n" in value:
        value = value.split("\n") if key == "character" else value.strip().splitlines()
    if isinstance(value, dict):
        if not all(str(k).isdecimal() for k in value):
            # label2id turned round is no list of names; nothing is concluded.
            return None
        numbers = sorted(value, key=lambda k: int(k))
        if [int(n) for n in numbers] != list(range(len(numbers))):
            return None
        value = [value[n] for n in numbers]
    spelt = isinstance(value, str) and value.lstrip()[:1] not in ("[", "{", "(")
    if spelt and "," in value and key != "character":
        value = value.split(",")
    if not isinstance(value, (list, tuple)) or not 0 < len(value) <= MOST_NAMES:
        return None
    if not all(isinstance(n, (str, int, float)) for n in value):
        return None
    try:
        names = [str(n) for n in value]
    except ValueError:  # a whole number of thousands of digits
        return None
    return names if key == "character" else [n.strip() for n in names]


def size_in(value: Any) -> list[int] | None:
    """Return [height, width]: of a number, a list ([C, H, W] too) or a size's dictionary."""
    value = literal(value)
    if isinstance(value, dict):
        if "height" in value and "width" in value:
            value = [value["height"], value["width"]]
        else:
            value = value.get("shortest_edge") or value.get("longest_edge")
    if isinstance(value, int) and not isinstance(value, bool):
        value = [value, value]
    if isinstance(value, (list, tuple)) and len(value) == 3 and value[0] in (1, 3, 4):
        value = value[1:]
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = [*value, *value]
    good = isinstance(value, (list, tuple)) and len(value) == 2
    if not good or not all(isinstance(n, int) and 0 < n <= 16384 for n in value):
        return None
    return list(value)
