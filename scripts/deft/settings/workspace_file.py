"""``<workspace>/deft.yaml``: the settings of a workspace, read by every command on it.

It holds what differs from the defaults. The command line, ``--configfile`` and the profile win.
Imported while the Snakefile is parsed.
"""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import Any

import yaml

from deft.core.errors import HardStop
from deft.core.yaml_files import read_mapping
from deft.settings.known import GROUPS, defaults, rule_of

SETTINGS_FILE = "deft.yaml"
# What no file inside the workspace can say: where it lies, and which run the next command means.
NOT_THERE = {
    "workspace": "it is the folder that this file lies in: leave the line out",
    "run": "results/current_run names the run, and --config run=NAME another: leave the line out",
}
HEAD = """\
# Settings of this workspace: what differs from the defaults (all of them: config/config.yaml of the
# project). Every command on this workspace reads them; what a command line says wins.
# Written by `snakemake settings`, which keeps no comments of your own; edit it as you like.
"""


def read_workspace_settings(workspace: Path) -> dict[str, Any]:
    """Return the settings of ``deft.yaml``, ``{}`` without one.

    Raises ``config_invalid`` with the file for what is no setting, or not one of this file.
    """
    # Late: without the file nothing of this is needed.
    path = workspace / SETTINGS_FILE
    if not os.path.lexists(path):
        return {}
    from deft.settings.config import as_meant, resolve

    given = read_mapping(path, code="config_invalid")
    for key, fix in NOT_THERE.items():
        if key in given:
            told = f"{key} cannot be set in the workspace's own settings"
            raise HardStop("config_invalid", told, file=path, fix=fix)
    try:
        resolve(given)
    except HardStop as stop:
        raise HardStop(stop.code, stop.message, file=path, row=stop.rows, fix=stop.fix) from None
    return {key: as_meant(key, value) for key, value in given.items()}


def merged(*layers: dict[str, Any]) -> dict[str, Any]:
    """Return settings of which the later layers win, key by key also inside the groups."""
    out: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            inside = key in GROUPS and isinstance(value, dict) and isinstance(out.get(key), dict)
            out[key] = {**out[key], **value} if inside else value
    return out


def differing(config: dict[str, Any]) -> dict[str, Any]:
    """Return of a complete configuration what differs from the defaults and may stand here."""
    standard, out = defaults(), {}
    for key, value in config.items():
        if key in GROUPS:
            value = {k: v for k, v in value.items() if v != standard[key].get(k)}
        if key not in NOT_THERE and value != standard[key] and value != {}:
            out[key] = value
    return out


def as_text(config: dict[str, Any]) -> str:
    """Return ``deft.yaml`` for a complete configuration, each setting with its meaning."""
    parts = [HEAD]
    for key, value in differing(config).items():
        rule = rule_of(key)
        told = f"{rule.get('description') or key}; default: {_shown(rule, key)}"
        comment = textwrap.wrap(told, 98, initial_indent="# ", subsequent_indent="#   ")
        line = yaml.safe_dump({key: value}, sort_keys=True, allow_unicode=True, width=1000)
        parts.append("\n".join(["", *comment, line]))
    return "".join(parts)


def _shown(rule: dict[str, Any], key: str) -> str:
    if key in GROUPS:
        return "config/config.yaml"
    return yaml.safe_dump(rule["default"], default_flow_style=True, width=1000).split("\n")[0]
