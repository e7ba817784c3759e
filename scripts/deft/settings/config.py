"""The configuration: closed schema, one clear line per mistake, where each value came from.

Imported while the Snakefile is parsed, so only light libraries here.
"""

from __future__ import annotations

import json
from typing import Any

from deft.core.errors import HardStop
from deft.core.reading import kind_of, parse_json, shortened
from deft.settings.config_values import check_values
from deft.settings.known import (
    GROUPS,
    ROOT,
    approval_of,
    defaults,
    from_words,
    kinds_of,
    rule_of,
)
from deft.settings.run_name import check_run_name
from deft.settings.tao import refuse_native_only
from deft.settings.tracking import refuse_login

LOGIC_PATH = ROOT / "rules" / "logic_versions.json"
DEFAULT_EPOCHS = 20


def logic_version(stage: str) -> int:
    """Return the number of a stage's logic: another one gives other outputs from equal inputs."""
    return int(json.loads(LOGIC_PATH.read_text(encoding="utf-8"))[stage])


def resolve(given: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration with defaults filled in, or stop with ``config_invalid``."""
    refuse_login(given.get("mlflow_uri"))
    check_values(given)
    given = {key: as_meant(key, value) for key, value in given.items()}
    # Late: pydantic takes a tenth of a second, and most who import this want a constant.
    from deft.settings.checking import validate

    validate(given)
    out = defaults()
    for key, value in given.items():
        out[key] = {**out[key], **value} if key in GROUPS and isinstance(value, dict) else value
    if out["run"] not in (None, "new"):
        check_run_name(out["run"], source="run")
    refuse_unavailable(out)
    return out


def as_meant(key: str, value: Any) -> Any:
    """Return what a value of the command line, which Snakemake read its own way, was meant to be.

    ``--config approve=true`` stays text there, only ``True`` becomes a boolean. And it reads YAML,
    where ``: `` parts key and value: ``--config 'kpi=FAR < 1%, Recall: 98%'`` is a mapping.
    """
    if isinstance(value, dict) and len(value) == 1 and "string" in kinds_of(rule_of(key)):
        ((name, rest),) = value.items()
        return f"{name}: {rest}" if isinstance(rest, str) else value
    return from_words(rule_of(key), value) if isinstance(value, str) else value


def refuse_unavailable(config: dict[str, Any]) -> None:
    """Raise ``config_invalid`` for settings that the chosen engine, or another one, rules out."""
    if config["engine"] == "tao":
        refuse_native_only(config)
    if config.get("score_two_stage") and config.get("score_views") == "one":
        raise HardStop(
            "config_invalid",
            "score_two_stage is true and score_views is one: there is nothing for a second stage",
            fix="set score_views: turns (or dihedral), or score_two_stage: false",
        )


def mining_rules(config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of the selection without their prefix, for ``scripts/mine.py``.

    One that is younger than runs which are under way stands there only when it is set: the rule's
    parameter stays what it was.
    """
    prefix = "mining_"
    return {
        k.removeprefix(prefix): v
        for k, v in config.items()
        if k.startswith(prefix) and not (v is None and approval_of(k) == "when set")
    }


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
