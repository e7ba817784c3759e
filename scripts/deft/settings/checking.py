"""A configuration against the model of its settings: the first mistake as one clear line.

Imports pydantic, which takes a tenth of a second unless Snakemake has it already.
"""

from __future__ import annotations

import difflib
import math
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from deft.core.errors import HardStop
from deft.settings.config_values import QUOTE_IT, shown
from deft.settings.known import GROUPS, kinds_of, only_word, schema
from deft.settings.model import Settings

PART = 3  # names in the path of what has no line of its own in config/config.yaml
KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a group of keys",
    "null": "null",
}
# Pydantic's name of a broken rule: what is said of the value, and the schema's name of the rule.
BROKEN = {
    "greater_than_equal": ("is below {}", "minimum"),
    "less_than_equal": ("is above {}", "maximum"),
    "greater_than": ("is not above {}", "exclusiveMinimum"),
    "less_than": ("is not below {}", "exclusiveMaximum"),
    "string_pattern_mismatch": ("does not have the form {}", "pattern"),
    "string_too_short": ("is empty", "minLength"),
    "string_too_long": ("has more than {} characters", "maxLength"),
    "too_short": ("has fewer than {}", "minItems"),
    "too_long": ("has more than {}", "maxItems"),
}
Path = tuple[str | int, ...]


def validate(given: dict[str, Any]) -> None:
    """Raise ``config_invalid`` for the first mistake, worst first (unknown keys)."""
    for key in given:
        if key not in schema()["properties"]:
            raise _unknown(key, schema(), "")
    try:
        Settings.model_validate(given)
    except ValidationError as error:
        raise _explained(given, error) from None


def _unknown(key: str, group: dict[str, Any], where: str) -> HardStop:
    known = list(group["properties"])
    near = difflib.get_close_matches(key, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
    told = f"unknown configuration key {shown(key)}{where and f' of {where}'}"
    return HardStop("config_invalid", told, fix=hint)


def _explained(given: dict[str, Any], error: ValidationError) -> HardStop:
    """Return the stop for the first broken rule: the value, the rule, what to write."""
    found = [(_path(given, each["loc"]), each["type"], each["msg"]) for each in error.errors()]
    found.sort(key=lambda one: [str(name) for name in one[0]])
    # Where several types are allowed each complains; the one that came furthest was meant.
    shorter = {path[:at] for path, _, _ in found for at in range(len(path))}
    path, kind, told = next(one for one in found if one[0] not in shorter)
    value: Any = given
    rule, group = schema(), {}
    for name in path:
        group, value = rule, value[name]
        rule = _inner(rule, name)
    where = ".".join(map(str, path)) or "the configuration"
    if kind == "extra_forbidden":
        return _unknown(str(path[-1]), group, ".".join(map(str, path[:-1])))
    if path[:1] == ("explore",) and len(path) >= PART:
        fix = f"see {where} in docs/explore.md for its meaning"
    else:
        # What lies deeper than a group's key, the file of defaults does not list.
        listed = ".".join(map(str, path[: 2 if path[:1] and path[0] in GROUPS else 1])) or where
        fix = f"see {listed} in config/config.yaml for its meaning and default"
    if kind in BROKEN:
        words, name = BROKEN[kind]
        told = f"{shown(value)} {words.format(rule[name])}"
    elif kind == "literal_error" or kind.endswith("_type"):
        told = f"{shown(value)} is not {wanted(rule)}"
        fix = _how_to_write(value, rule, nested=len(path) > 1) or fix
    return HardStop("config_invalid", f"{where}: {told}", fix=fix)


def _path(given: Any, location: Path) -> Path:
    """Return a place without the names of types that pydantic puts between its keys."""
    path: list[str | int] = []
    for name in location:
        if name in given if isinstance(given, dict) else isinstance(name, int):
            path.append(name)
            given = given[name]
    return tuple(path)


def _inner(rule: dict[str, Any], name: str | int) -> dict[str, Any]:
    """Return the part of a schema for a key of a group or mapping, or a place in a list."""
    return (
        rule.get("properties", {}).get(name)
        or rule.get("items")
        or rule.get("additionalProperties")
        or {}
    )


def wanted(rule: dict[str, Any]) -> str:
    """Return in words which values a part of the schema allows, bounds aside."""
    if "enum" in rule:
        return f"one of {', '.join('null' if v is None else str(v) for v in rule['enum'])}"
    return " or ".join(words_of(rule, kind) for kind in kinds_of(rule))


def words_of(rule: dict[str, Any], kind: str) -> str:
    """Return a type in words; text that can be one word only is that word."""
    only = only_word(rule) if kind == "string" else ""
    return only or KINDS[kind]


def _how_to_write(value: Any, rule: dict[str, Any], *, nested: bool) -> str | None:
    """Return how the value that was probably meant is written."""
    kinds = kinds_of(rule)
    if isinstance(value, str) and {"integer", "number"} & set(kinds):
        if nested:  # of a group that stands on the command line, where all of it stays text
            return "write it without quotes; keys of a group come by --configfile FILE"
        with suppress(ValueError, OverflowError):
            number = float(value)
            if math.isfinite(number):
                whole = number.is_integer() and "integer" in kinds
                return f"write {int(number) if whole else repr(number)}"
    if isinstance(value, str) and "boolean" in kinds:
        return "write true or false"
    if isinstance(value, float) and "integer" in kinds and value.is_integer():
        return f"write {int(value)}"
    if isinstance(value, bool | int | float) and ("enum" in rule or "string" in kinds):
        return QUOTE_IT
    return None
