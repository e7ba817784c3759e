"""The experiment spec as a container gets it: the user's own keys, and what a stage changes.

Only keys that stand in the user's file (or are changed) are written: every other one has the
container's default, so that a release of TAO which does not know a newer key does not refuse it.
The whole is checked against TAO's published schema, key by key, before a container is started.
"""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import yaml

from deft.changenet.spec import Spec, from_dict, plain_keys
from deft.changenet.spec.backbones import needs_of
from deft.changenet.spec.build import SpecProblem, parse_yaml
from deft.changenet.spec.schema import MISSING
from deft.core.errors import HardStop
from deft.core.files import write_text_atomic
from deft.core.reading import read_text

# Keys that name a file or folder; relative ones start at the workspace.
PATHS = (
    *("model.backbone.pretrained_backbone_path", "train.pretrained_model_path"),
    "train.resume_training_checkpoint_path",
    *(
        f"dataset.classify.{table}_dataset.{key}"
        for table in ("train", "validation", "test", "infer")
        for key in ("csv_path", "images_dir")
    ),
)


def check_tao(spec: Spec) -> None:
    """Raise HardStop ``spec_invalid`` for what only the native engine knows."""
    name = spec.model.backbone.type
    if needs_of(name) is None:
        raise HardStop(
            "spec_invalid",
            f"model.backbone.type {name} is no backbone of TAO's",
            file=spec.source,
            fix="name one of TAO's (docs/backbones.md), or set engine: native",
        )


def given_keys(path: Path) -> dict[str, Any]:
    """Return the user's spec as plain data, references resolved, under present names."""
    try:
        return plain_keys(parse_yaml(read_text(path, code="spec_invalid")))[0]
    except SpecProblem as problem:
        raise problem.as_stop(path) from None


def container_spec(
    source: Path, changes: dict[str, Any], root: Path
) -> tuple[dict[str, Any], list[Path]]:
    """Return (the spec as plain data, the files that it names outside the tables).

    Parameters
    ----------
    source: the user's spec file.
    changes: dotted key -> value, as the stage wants them.
    root: the workspace, absolute; every path becomes absolute below it.

    Raises
    ------
    HardStop ``spec_invalid`` naming the key that TAO's schema does not have or allow.
    """
    data = copy.deepcopy(given_keys(source))
    for name, value in changes.items():
        _set(data, name, value)
    # It asks for an account and a connection, and TAO's own default is on.
    _set(data, "wandb.enable", False)
    check_tao(from_dict(data, engine="tao", source=source))
    named = []
    for name in PATHS:
        value = _get(data, name)
        if not value or value == MISSING:
            continue
        if "://" in value:
            raise HardStop(
                "spec_invalid",
                f"{name} {value!r} is an address; TAO's containers read local files only",
                file=source,
                fix="download the file, put it under augmentation/backbone/ and name that path",
            )
        absolute = os.path.normpath(root / Path(value).expanduser())
        _set(data, name, absolute)
        named.append(Path(absolute))
    return data, named


def write_spec(data: dict[str, Any], path: Path) -> Path:
    """Write plain data as YAML, whole or not at all."""
    return write_text_atomic(
        path, yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)
    )


def _get(data: dict[str, Any], dotted: str) -> Any:
    value: Any = data
    for part in dotted.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _set(data: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for part in parents:
        if not isinstance(data.get(part), dict):
            data[part] = {}
        data = data[part]
    data[last] = value
