"""Texts as a model's numbers, by the tokenizer that lies beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .folder import Refusal, whole

IDS, MASK, TYPES = "ids", "mask", "types"


def parts_of(inputs: list[dict[str, Any]]) -> dict[str, str]:
    """Return input -> which numbers of a tokenized text it takes; ``{}`` unless one takes tokens.

    >>> parts_of([{"name": "input_ids", "dtype": "int64", "shape": [1, "n"]}])
    {'input_ids': 'ids'}
    """
    out = {}
    for entry in inputs:
        name = entry["name"].lower()
        if "int" not in str(entry["dtype"]) or len(entry["shape"] or []) != 2:
            continue
        if "mask" in name:
            out[entry["name"]] = MASK
        elif "type" in name or "segment" in name:
            out[entry["name"]] = TYPES
        elif "id" in name or "token" in name:
            out[entry["name"]] = IDS
    return out if IDS in out.values() else {}


def encoded(path: Path, tokenizer: Path, entry: dict[str, Any], part: str) -> np.ndarray:
    """Return a text file's tokens as a batch of one; cut or padded where the model fixes how many.

    Raises :class:`Refusal` for a text or a tokenizer that cannot be read.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise Refusal("a package is missing: tokenizers, which reads tokenizer.json") from error
    try:
        text = path.read_text(encoding="utf-8").strip()
        made: Any = Tokenizer.from_file(str(tokenizer))
        made.no_padding()
        found = made.encode(text)
    except Exception as error:  # the library raises Exception itself
        raise Refusal(f"{path.name} cannot be tokenized: {whole(error)}") from error
    values = {IDS: found.ids, MASK: found.attention_mask, TYPES: found.type_ids}[part]
    size = entry["shape"][1]
    if isinstance(size, int):
        values = [*values, *([0] * (size - len(values)))][:size]
    return np.asarray([values], dtype=entry["dtype"])
