"""Settings of ``engine: tao``: the one table of images, and how containers are run.

Imported while the Snakefile is parsed, so only light libraries here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from deft.core.errors import HardStop
from deft.core.yaml_files import read_mapping
from deft.settings.known import ROOT, defaults, only_by, rule_of

TABLE = ROOT / "config" / "images.yaml"
RELEASE = "7.1.0"  # unless `tao_release` says another
RUNTIMES = rule_of("container_runtime")["enum"]
CONTAINER_ENCODERS = ("siglip", "clip")  # what TAO's embedding container has
# What TAO's containers cannot do of our own settings, and the value that is none of it.
NATIVE_ONLY = only_by("native")
_CONTAINERS = ("container_runtime", "container_user", "container_shm")


@dataclass(frozen=True)
class Settings:
    """How containers are run.

    Parameters
    ----------
    images: image by its key in ``config/images.yaml``.
    stages: key of the image by stage.
    runtime: ``docker`` or ``podman``, looked up on ``PATH``.
    user: ``caller`` (the container runs with the caller's ids) or ``root`` (as NVIDIA runs it; the
        files are given to the caller afterwards).
    shm: size of the container's ``/dev/shm``.
    """

    images: Mapping[str, str]
    stages: Mapping[str, str]
    runtime: str
    user: str
    shm: str

    def image(self, stage: str) -> str:
        """Return the image that runs a stage (``train``, ``inference``, ``embed``, ``rca``)."""
        return self.images[self.stages[stage]]


@cache
def _table() -> dict[str, dict[str, Any]]:
    return read_mapping(TABLE, code="config_invalid")


def settings(config: Mapping[str, Any]) -> Settings:
    """Return the settings that a configuration (absent keys: the defaults) asks for."""
    table, standard = _table(), defaults()
    release = table["releases"][config.get("tao_release") or RELEASE]
    images = {name: config.get(f"tao_{name}_image") or image for name, image in release.items()}
    return Settings(
        images,
        table["stages"],
        *(config.get(key) or standard[key] for key in _CONTAINERS),
    )


def needed_images(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return image -> the stages that this configuration runs in it."""
    found = settings(config)
    needed: dict[str, list[str]] = {}
    for stage in found.stages:
        if stage != "embed" or embeds_in_container(config):
            needed.setdefault(found.image(stage), []).append(stage)
    return needed


def embeds_in_container(config: Mapping[str, Any]) -> bool:
    """Whether the pool is embedded by TAO's container.

    Other encoders are computed here; ``changenet`` with the weights that TAO trained, since its
    feature is this project's own.
    """
    encoder = config.get("encoder", "siglip")
    return config.get("engine") == "tao" and encoder in CONTAINER_ENCODERS


def air_gapped() -> bool:
    """Whether ``AIR_GAPPED`` forbids every connection."""
    return os.environ.get("AIR_GAPPED", "0") not in ("", "0")


def refuse_native_only(config: Mapping[str, Any]) -> None:
    """Raise ``config_invalid`` for settings that a container would silently ignore."""
    ignored = NATIVE_ONLY | (only_by("own encoder") if embeds_in_container(config) else {})
    for key, neutral in ignored.items():
        if config.get(key, neutral) != neutral:
            raise HardStop(
                "config_invalid",
                f"{key}: {config[key]} is not done by TAO's containers (engine: tao)",
                fix=f"set {key}: {'null' if neutral is None else neutral}, or engine: native",
            )
    if config.get("device") == "cpu":
        raise HardStop(
            "config_invalid",
            "device: cpu cannot be with engine: tao: TAO's containers need an NVIDIA GPU",
            fix="set device: auto or cuda, or engine: native",
        )
    if config.get("mining") == "none":
        raise HardStop(
            "config_invalid",
            "mining: none needs more draws an epoch than the table has rows, which TAO's trainer "
            "has no key for",
            fix="set engine: native for the control arm none, or take mining: random",
        )
