"""The configuration: closed schema, one clear line per mistake, where each value came from.

Imported while the Snakefile is parsed, so only light libraries here.
"""

from __future__ import annotations

import difflib
import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from deft.errors import HardStop
from deft.tao.settings import refuse_native_only

ROOT = Path(__file__).resolve().parents[2]
SCHEMA_PATH = ROOT / "config" / "config.schema.yaml"
LOGIC_PATH = ROOT / "rules" / "logic_versions.json"
GROUPS = ("demo", "deeppcb", "explore")
DEFAULT_EPOCHS = 20


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
    given = {key: from_words(key, value) for key, value in given.items()}
    validate(given)
    out = defaults()
    for key, value in given.items():
        out[key] = {**out[key], **value} if key in GROUPS and isinstance(value, dict) else value
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
            raise HardStop("config_invalid", f"unknown configuration key {key!r}", fix=hint)
    errors = sorted(
        jsonschema.Draft202012Validator(schema()).iter_errors(given), key=lambda e: list(e.path)
    )
    if errors:
        error = errors[0]
        where = ".".join(str(part) for part in error.path) or "the configuration"
        raise HardStop(
            "config_invalid",
            f"{where}: {error.message}",
            fix=f"see {where} in config/config.yaml for its meaning and default",
        )


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
    return resolve(json.loads(text))
