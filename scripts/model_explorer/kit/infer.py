"""Every input once through the model: raw outputs, decoded answers, and how repeatable they are."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from .arrays import alike, describe, difference, stack
from .decode import answer, words
from .folder import Folder, plain, write_text
from .models import open_model
from .preprocess import item

RAW, DECODED = "outputs/raw", "outputs/decoded"


def run(folder: Folder) -> str:
    """Write ``outputs/inference.json``, raw and decoded outputs; return the summary line."""
    contract, inputs = folder.need("io_contract"), folder.need("inputs")
    model = open_model(folder)
    records, feeds, answers = [], [], []
    for sample in inputs["samples"]:
        feed = item(folder, contract, sample)
        raw = model.run(feed)
        feeds.append(feed)
        answers.append(raw)
        records.append(_record(folder, contract, sample, feed, raw))
        if contract.get("state"):
            records[-1]["steps"] = stepped(folder, contract, model, sample)
        if hasattr(model, "save"):  # a served model: what went over the network
            records[-1]["exchange"] = model.save(folder, sample["id"])
    again = model.run(feeds[0])
    repeat = [difference(answers[0][n], again[n]) for n in again]
    record = {
        "device": model.device,
        "provider": model.facts["provider"],
        "batch_size": 1,
        "precision": sorted({d["dtype"] for r in records for d in r["inputs"].values()}),
        "command": "python scripts/10_infer.py",
        "preprocess": "outputs/io_contract.json, preprocess",
        "samples": records,
        "repeat_difference": _largest(repeat),
        "batch_difference": _batched(model, contract, feeds, answers),
        "not_finite": sum(
            o.get("not_finite", 0)
            for r in records
            for outputs in (r["outputs"], *r.get("steps", []))
            for o in outputs.values()
        ),
        "answers_differ": _answers_differ(answers),
        "largest_output": _largest(
            [
                abs(o[end])
                for r in records
                for o in r["outputs"].values()
                for end in ("min", "max")
                if end in o
            ]
        ),
    }
    folder.write("inference", record)
    return f"{len(records)} inputs; first answer: {records[0]['answer']}"


def stepped(
    folder: Folder, contract: dict[str, Any], model: Any, sample: dict[str, Any]
) -> list[dict[str, Any]]:
    """Run a sample over the contract's steps, its state fed back; return every step's outputs
    described.
    """
    state: dict[str, Any] = {}
    out = []
    for step in range(int(contract["steps"])):
        raw = model.run({**item(folder, contract, sample, step), **state})
        state = {name: raw[output] for name, output in contract["state"].items()}
        out.append({n: describe(v) for n, v in raw.items()})
    return out


def _record(
    folder: Folder,
    contract: dict[str, Any],
    sample: dict[str, Any],
    feed: dict[str, np.ndarray],
    raw: dict[str, Any],
) -> dict[str, Any]:
    name = sample["id"]
    decoded = answer(contract, raw)
    arrays = {n: v for n, v in raw.items() if isinstance(v, np.ndarray) and v.dtype != object}
    others = {n: v for n, v in raw.items() if n not in arrays}
    files = []
    if arrays:
        path = folder.path(RAW) / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        named: dict[str, Any] = {n.replace("/", "_"): v for n, v in arrays.items()}
        np.savez(path, **named)
        files.append(f"{RAW}/{name}.npz")
    if others:
        write_text(folder.path(RAW) / f"{name}.json", json.dumps(plain(others), indent=2) + "\n")
        files.append(f"{RAW}/{name}.json")
    write_text(folder.path(DECODED) / f"{name}.json", json.dumps(plain(decoded), indent=2) + "\n")
    return {
        "id": name,
        "origin": sample["origin"],
        "truth": sample.get("label"),
        "files": sample["files"],
        "sha256": {f: _digest(folder, f) for files_ in sample["files"].values() for f in files_},
        "inputs": {n: describe(v) for n, v in feed.items()},
        "outputs": {n: describe(v) for n, v in raw.items()},
        "raw": files,
        "decoded": f"{DECODED}/{name}.json",
        "label": decoded.get("label"),
        "score": decoded.get("score"),
        "answer": words(decoded),
    }


def _digest(folder: Folder, name: str) -> str:
    return hashlib.sha256(folder.path(name).read_bytes()).hexdigest()


def _largest(found: list[float | None]) -> float | None:
    known = [f for f in found if f is not None]
    return max(known) if known else None


def _batched(
    model: Any, contract: dict[str, Any], feeds: list[dict[str, Any]], answers: list[dict[str, Any]]
) -> float | None:
    """Return how far an item's answer moves when others share its batch; None without batches."""
    if not contract["batch"]["free"] or len(feeds) < 2 or len(alike(feeds)) < len(feeds):
        return None
    axes = {i["name"]: i["batch_axis"] for i in contract["inputs"]}
    together = model.run(stack(feeds, axes))
    gaps = []
    grown = {o["name"]: o.get("batch_axis") for o in contract["outputs"]}
    for name, value in together.items():
        axis = grown.get(name)
        if axis is None or not isinstance(value, np.ndarray):
            continue
        for row, single in enumerate(np.split(value, len(feeds), axis)):
            gaps.append(difference(single, answers[row][name]))
    return _largest(gaps)


def _answers_differ(answers: list[dict[str, Any]]) -> bool | None:
    """Return whether different inputs gave different answers; None with one input."""
    if len(answers) < 2:
        return None
    gaps = [difference(answers[0][n], other[n]) for other in answers[1:] for n in answers[0]]
    return any(g is None or g > 0 for g in gaps)
