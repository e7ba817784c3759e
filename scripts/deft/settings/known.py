"""The settings as ``config/config.schema.json`` lists them: defaults, choices, what covers them.

The file is made from :mod:`deft.settings.model`. Read here it costs a millisecond and the standard
library alone, which the Snakefile and every stage can afford.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
SCHEMA_PATH = ROOT / "config" / "config.schema.json"


@cache
def schema() -> dict[str, Any]:
    """Return the JSON schema of the configuration; keys ``x-…`` are those of a declaration."""
    found: dict[str, Any] = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))
    return found


GROUPS = tuple(key for key, rule in schema()["properties"].items() if "properties" in rule)


def rule_of(name: str) -> dict[str, Any]:
    """Return a flat setting's part of the schema, empty for a name that is no setting."""
    rule: dict[str, Any] = schema()["properties"].get(name, {})
    return rule


def kinds_of(rule: dict[str, Any]) -> list[str]:
    """Return the JSON types that a part of the schema allows; none where it lists its values."""
    kinds = rule.get("type", [])
    return [kinds] if isinstance(kinds, str) else kinds


def only_word(rule: dict[str, Any]) -> str:
    """Return the word that a setting takes beside numbers (``auto``), ``""`` for any other."""
    form = str(rule.get("pattern", ""))
    word = form.removeprefix("^").removesuffix("$")
    return word if form == f"^{word}$" and word.isalpha() else ""


def defaults() -> dict[str, Any]:
    """Return every flat key with its default; groups with theirs."""
    out: dict[str, Any] = {}
    for key, rule in schema()["properties"].items():
        if key in GROUPS:
            out[key] = {k: r["default"] for k, r in rule["properties"].items()}
        else:
            out[key] = rule["default"]
    return out


def approval_of(name: str) -> str:
    """Return whether the approval covers a setting: ``yes``, ``no``, ``when set`` (no default)."""
    return str(rule_of(name).get("x-approval", "yes"))


def only_by(engine: str) -> dict[str, Any]:
    """Return the settings that only this engine (``x-engine``) can do, with their defaults."""
    rules = schema()["properties"].items()
    return {key: rule["default"] for key, rule in rules if rule.get("x-engine") == engine}


def from_words(rule: dict[str, Any], text: str) -> Any:
    """Return the YAML meaning of ``true``, ``false`` and ``null`` where the type wants it."""
    kinds = kinds_of(rule)
    if "boolean" in kinds and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if "null" in kinds and text.lower() in ("null", "none", "~"):
        return None
    return text
