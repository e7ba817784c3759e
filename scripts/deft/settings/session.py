"""What the process that parses the Snakefile hands down to its jobs, through the environment.

A job's own Snakemake and every script inherit these; nothing else reads the environment for them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deft.core.airgap import offline
from deft.core.errors import HardStop

BRIEF = "DEFT_BRIEF"  # set: a stage shows results, warnings and stops; the rest is in its log
LAST_STOP_FILE = ".snakemake/deft_last_stop_{run}.txt"  # two runs may share a workspace


def inherited(name: str) -> str | None:
    """Return a value that the user's own process handed down, or None in that process."""
    return os.environ.get(name)


def check_container(image: str | None, workspace: Path) -> None:
    """Raise ``missing_input`` for an image that is not there, or that only a connection brings.

    Snakemake fetches images before any job, so the pre-flight would be too late.
    """
    if not image:
        return
    if "://" in image:
        if offline():
            raise HardStop(
                "missing_input",
                f"container {image} would be fetched, and downloads are off",
                file=image,
                fix="on a connected machine: apptainer build deft.sif IMAGE; carry it here and "
                "set container=FILE (docs/air_gap.md)",
            )
    elif not (workspace / image).exists():
        raise HardStop(
            "missing_input",
            "the container image does not exist",
            file=workspace / image,
            fix="set container to a .sif file or docker://…; see docs/environments.md",
        )


def container_environment(environment: Mapping[str, str], home: str, device: str) -> dict[str, str]:
    """Return what Apptainer (or its elder, Singularity) reads: folders to bind, GPU or not.

    It binds the workspace by itself, this project's code not. What the user binds stays.
    """
    out = {}
    for name in ("APPTAINER", "SINGULARITY"):
        bound = environment.get(f"{name}_BIND", "")
        out[f"{name}_BIND"] = ",".join(filter(None, (bound, home)))
        if device != "cpu":
            out[f"{name}_NV"] = "1"  # on a machine without a GPU it only warns
    return out


def hand_down(
    *,
    home: str,
    workspace: Path,
    typed_in: Path,
    run: str,
    config: dict[str, Any],
    user_keys: list[str],
    taken_keys: list[str],
    embed_shards: int,
) -> None:
    """Set the environment of all jobs.

    The pre-flight reads the whole configuration from here; as a rule's parameter it would make
    the gate run again for nothing.
    """
    if config["container"]:
        os.environ.update(container_environment(os.environ, home, config["device"]))
    # Threads that wait by spinning make a training on busy cores some eight times slower; on idle
    # ones a sleeping wait costs a small network little and a large one nothing.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.update(
        DEFT_HOME=home,
        DEFT_WORKSPACE=str(workspace),
        DEFT_TYPED_IN=str(typed_in),
        DEFT_RUN=run,
        DEFT_CONFIG=json.dumps(config, sort_keys=True),
        DEFT_USER_KEYS=" ".join(user_keys),
        DEFT_TAKEN_KEYS=" ".join(taken_keys),
        DEFT_EMBED_SHARDS=str(embed_shards),
        # As a parameter of a rule another place would make the pool's embedding run again.
        DEFT_EMBEDDING_CACHE=str(config["embedding_cache"] or ""),
        DEFT_LAST_STOP=str(workspace / LAST_STOP_FILE.format(run=run)),
        # The interpreter that runs Snakemake runs the scripts too, unless an environment
        # replaces it.
        PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    )
