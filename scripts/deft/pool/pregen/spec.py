"""``defect_spec.jsonl``: one JSON object a line and defect type, read strictly."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from deft.core import layout
from deft.core.errors import HardStop
from deft.tables.csv_text import decode_text
from deft.tables.labels import clean_label, label_fault

COUNT_KEYS = ("count", "num_images", "n")
COUNT_MOST = 10**9  # pairs; more is a slip of the pen
ONE_A_LINE = 'write one object a line, e.g. {"defect_type": "bridge", "count": 12}'


@dataclass(frozen=True)
class Stated:
    """What one line says: the label (clean form), the user's word for it, pairs (None = unsaid)."""

    label: str
    defect_type: str
    count: int | None
    line: int


def read_defect_spec(workspace: str | Path) -> list[Stated]:
    """Return what ``defect_spec.jsonl`` states (``[]`` when there is none).

    Raises
    ------
    HardStop ``csv_invalid``, with the line: not UTF-8, not one object a line, no defect type or a
    doubled one, a label that cannot be told from another, a count that is no whole number.
    """
    path = Path(workspace) / layout.DEFECT_SPEC
    if not os.path.lexists(path):
        return []
    if not path.is_file():
        what = "a folder" if path.is_dir() else "a link that leads to no file"
        raise HardStop(
            "csv_invalid",
            f"{what} stands where the list of defect types is due",
            file=path,
            fix=f"remove it, or {ONE_A_LINE}",
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise HardStop("missing_input", f"the file cannot be read ({error})", file=path) from None
    text = decode_text(path, data, "defect_spec.jsonl")
    entries: list[Stated] = []
    lines: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        entry = _entry(path, number, _object(path, number, line, text))
        if entry.label in lines:
            _refuse(
                path,
                number,
                f"the defect type {entry.defect_type!r} stands in line {lines[entry.label]} too",
                "keep one line a defect type",
            )
        lines[entry.label] = number
        entries.append(entry)
    return entries


def _refuse(path: Path, line: int, message: str, fix: str = ONE_A_LINE) -> NoReturn:
    raise HardStop("csv_invalid", f"line {line}: {message}", file=path, row=line, fix=fix)


def _object(path: Path, number: int, line: str, text: str) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key stands twice")
        return found

    def no_number(name: str) -> NoReturn:
        raise ValueError(f"{name} is no number of JSON")

    try:
        value = json.loads(line, object_pairs_hook=once, parse_constant=no_number)
    except RecursionError:
        _refuse(path, number, "the value is nested too deeply")
    except ValueError as error:  # broken JSON, or a whole number of thousands of digits
        if line.strip() in ("{", "[") and _is_json(text):
            _refuse(path, number, "one JSON value is spread over several lines")
        _refuse(path, number, f"not JSON: {str(error)[:200]}")
    if not isinstance(value, dict):
        kind = {list: "an array", str: "a text", bool: "true or false", type(None): "null"}
        _refuse(path, number, f"{kind.get(type(value), 'a number')} stands where an object is due")
    return value


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _entry(path: Path, number: int, value: dict[str, Any]) -> Stated:
    if "defect_type" not in value:
        _refuse(path, number, "no defect_type in the object")
    name = value["defect_type"]
    if not isinstance(name, str):
        _refuse(path, number, f"defect_type {_short(name)} is not a text")
    fault = label_fault(name)
    if fault:
        _refuse(path, number, f"defect_type: {fault}", "name the defect in plain letters")
    for key in value:
        meant = key.strip().lower()
        if key not in COUNT_KEYS and meant in COUNT_KEYS:
            _refuse(path, number, f"the key {key!r} is not read", f"write it as {meant!r}")
    counts = {
        key: _count(path, number, key, value[key])
        for key in COUNT_KEYS
        if value.get(key) is not None
    }
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{key} {count}" for key, count in counts.items())
        _refuse(path, number, f"the counts disagree: {said}", "keep one of them")
    return Stated(clean_label(name), name.strip(), next(iter(counts.values()), None), number)


def _count(path: Path, number: int, key: str, value: Any) -> int:
    whole = isinstance(value, int | float) and not isinstance(value, bool)
    # Infinity (1e400) and 2.5 are no counts; 2.0 is one.
    if not whole or not 0 <= value <= COUNT_MOST or value != int(value):
        _refuse(
            path,
            number,
            f"{key} {_short(value)} is not a whole number of pairs (0 or more)",
            "write the number of pairs, or leave it out",
        )
    return int(value)


def _short(value: Any) -> str:
    try:
        text = json.dumps(value)
    except (ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= 60 else text[:60] + "…"
