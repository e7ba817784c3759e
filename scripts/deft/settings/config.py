"""The configuration: closed schema, one clear line per mistake, where each value came from.

Imported while the Snakefile is parsed, so only light libraries here.
"""

from __future__ import annotations

import difflib
import json
import math
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from deft.core.errors import HardStop
from deft.core.reading import kind_of, parse_json, shortened
from deft.settings.config_values import QUOTE_IT, check_values, shown
from deft.settings.run_name import check_run_name
from deft.settings.tao import refuse_native_only

ROOT = Path(__file__).resolve().parents[3]
SCHEMA_PATH = ROOT / "config" / "config.schema.yaml"
LOGIC_PATH = ROOT / "rules" / "logic_versions.json"
GROUPS = ("demo", "deeppcb", "explore")
DEFAULT_EPOCHS = 20
KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a group of keys",
    "null": "null",
}
BOUNDS = {
    "minimum": "below",
    "maximum": "above",
    "exclusiveMinimum": "not above",
    "exclusiveMaximum": "not below",
}


def logic_version(stage: str) -> int:
    """Return the number of a stage's logic: another one gives other outputs from equal inputs."""
    return json.loads(LOGIC_PATH.read_text(encoding="utf-8"))[stage]


@cache
def schema() -> dict[str, Any]:
    """Return the JSON schema of the configuration."""
    return yaml.safe_load(SCHEMA_PATH.read_text(encoding="utf-8"))


def defaults() -> dict[str, Any]:
    """Return every flat key with its default; groups with theirs."""
    out: dict[str, Any] = {}
    for key, rule in schema()["properties"].items():
        if key in GROUPS:
            out[key] = {k: r["default"] for k, r in rule["properties"].items()}
        else:
            out[key] = rule["default"]
    return out


def resolve(given: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration with defaults filled in, or stop with ``config_invalid``."""
    check_values(given)
    given = {key: from_words(key, from_pair(key, value)) for key, value in given.items()}
    validate(given)
    out = defaults()
    for key, value in given.items():
        out[key] = {**out[key], **value} if key in GROUPS and isinstance(value, dict) else value
    if out["run"] not in (None, "new"):
        check_run_name(out["run"], source="run")
    refuse_unavailable(out)
    return out


def from_words(key: str, value: Any) -> Any:
    """Return the YAML meaning of ``true``, ``false`` and ``null`` where the key's type wants it.

    Snakemake hands ``--config approve=true`` on as text; only ``True`` becomes a boolean there.
    """
    if not isinstance(value, str):
        return value
    kind = schema()["properties"].get(key, {}).get("type", [])
    kinds = [kind] if isinstance(kind, str) else kind
    if "boolean" in kinds and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if "null" in kinds and value.lower() in ("null", "none", "~"):
        return None
    return value


def from_pair(key: str, value: Any) -> Any:
    """Return the text that ``--config 'kpi=FAR < 1%, Recall: 98%'`` became a mapping of.

    Snakemake reads what stands on the command line as YAML, where ``: `` parts key and value.
    """
    kind = schema()["properties"].get(key, {}).get("type", [])
    if "string" not in kind or not isinstance(value, dict) or len(value) != 1:
        return value
    ((name, rest),) = value.items()
    return f"{name}: {rest}" if isinstance(rest, str) else value


def refuse_unavailable(config: dict[str, Any]) -> None:
    """Raise ``config_invalid`` for settings that the chosen engine cannot do."""
    if config["engine"] == "tao":
        refuse_native_only(config)


def validate(given: dict[str, Any]) -> None:
    """Raise ``config_invalid`` for the first mistake, worst first (unknown keys)."""
    known = list(schema()["properties"])
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
            raise HardStop("config_invalid", f"unknown configuration key {shown(key)}", fix=hint)
    errors = sorted(
        jsonschema.Draft202012Validator(schema()).iter_errors(given),
        key=lambda error: [str(part) for part in error.path],
    )
    if errors:
        raise _explained(errors[0])
    _refuse_decimals(given, schema(), ())


def _explained(error: jsonschema.ValidationError) -> HardStop:
    """Return the stop for a broken rule of the schema: the value, the rule, what to write."""
    path = [str(part) for part in error.path]
    where = ".".join(path) or "the configuration"
    value, rule = error.instance, error.validator_value
    fix = f"see {where} in config/config.yaml for its meaning and default"
    told = error.message if len(error.message) < 300 else f"{error.message[:300]}…"
    if error.validator in ("type", "enum"):
        wanted = _wanted(error.validator, rule)
        told = f"{shown(value)} is not {wanted}"
        fix = _how_to_write(value, error.validator, rule, nested=len(path) > 1) or fix
    elif error.validator in BOUNDS:
        told = f"{shown(value)} is {BOUNDS[error.validator]} {rule}"
    elif error.validator == "pattern":
        told = f"{shown(value)} does not have the form {rule}"
    return HardStop("config_invalid", f"{where}: {told}", fix=fix)


def _wanted(validator: str, rule: Any) -> str:
    if validator == "enum":
        return f"one of {', '.join('null' if v is None else str(v) for v in rule)}"
    kinds = [rule] if isinstance(rule, str) else rule
    return " or ".join(KINDS[kind] for kind in kinds)


def _how_to_write(value: Any, validator: str, rule: Any, *, nested: bool) -> str | None:
    """Return how the value that was probably meant is written."""
    kinds = [rule] if isinstance(rule, str) else rule if validator == "type" else []
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
    if isinstance(value, bool | int | float) and (validator == "enum" or "string" in kinds):
        return QUOTE_IT
    return None


def _refuse_decimals(value: Any, rule: dict[str, Any], path: tuple[str, ...]) -> None:
    """Refuse 1.0 where a whole number is wanted: JSON's schemas let it pass, its readers do not."""
    kinds = rule.get("type", [])
    whole = "integer" in kinds and "number" not in kinds or set(rule.get("enum", [])) == {1, 2}
    if whole and isinstance(value, float):
        raise HardStop(
            "config_invalid",
            f"{'.'.join(path)}: {value!r} is not a whole number as it is written",
            fix=f"write {int(value)}",
        )
    if isinstance(value, dict):
        for name, part in value.items():
            inner = rule.get("properties", {}).get(name) or rule.get("additionalProperties")
            if isinstance(inner, dict):
                _refuse_decimals(part, inner, (*path, name))
    elif isinstance(value, list) and isinstance(rule.get("items"), dict):
        for at, part in enumerate(value):
            _refuse_decimals(part, rule["items"], (*path, str(at)))


def mining_rules(config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of the selection without their prefix, for ``scripts/mine.py``."""
    prefix = "mining_"
    return {k.removeprefix(prefix): v for k, v in config.items() if k.startswith(prefix)}


def sources(config: dict[str, Any], named_by_user: set[str]) -> dict[str, str]:
    """Return ``user`` or ``default`` for each flat key.

    A value that differs from the schema's default is the user's, wherever it was written.
    """
    standard = defaults()
    return {
        key: "user" if key in named_by_user or config[key] != standard[key] else "default"
        for key in standard
        if key not in GROUPS
    }


def epochs(config: dict[str, Any], spec_epochs: int | None) -> tuple[int, str]:
    """Return the number of epochs and where it came from."""
    if config["training_epochs"] is not None:
        return int(config["training_epochs"]), "user"
    if spec_epochs:
        return int(spec_epochs), "spec"
    return DEFAULT_EPOCHS, "default"


def from_json(text: str) -> dict[str, Any]:
    """Return the configuration that a rule passed to its script as JSON."""
    try:
        given = parse_json(text)
    except ValueError as error:
        told = f"not readable as JSON: {shortened(error)}"
        raise HardStop("config_invalid", f"the configuration handed down is {told}") from None
    if not isinstance(given, dict):
        told = f"holds {kind_of(given)} and no keys"
        raise HardStop("config_invalid", f"the configuration handed down {told}")
    return resolve(given)
