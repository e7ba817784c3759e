"""What the process that parses the Snakefile hands down to its jobs, through the environment.

A job's own Snakemake and every script inherit these; nothing else reads the environment for them.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

LAST_STOP_FILE = ".snakemake/deft_last_stop_{run}.txt"  # two runs may share a workspace


def inherited(name: str) -> str | None:
    """Return a value that the user's own process handed down, or None in that process."""
    return os.environ.get(name)


def hand_down(
    *,
    home: str,
    workspace: Path,
    run: str,
    config: dict[str, Any],
    user_keys: list[str],
    embed_shards: int,
) -> None:
    """Set the environment of all jobs.

    The pre-flight reads the whole configuration from here; as a rule's parameter it would make
    the gate run again for nothing.
    """
    # Threads that wait by spinning make a training on busy cores some eight times slower; on idle
    # ones a sleeping wait costs a small network little and a large one nothing.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.update(
        DEFT_HOME=home,
        DEFT_WORKSPACE=str(workspace),
        DEFT_RUN=run,
        DEFT_CONFIG=json.dumps(config, sort_keys=True),
        DEFT_USER_KEYS=" ".join(user_keys),
        DEFT_EMBED_SHARDS=str(embed_shards),
        # As a parameter of a rule another place would make the pool's embedding run again.
        DEFT_EMBEDDING_CACHE=str(config["embedding_cache"] or ""),
        DEFT_LAST_STOP=str(workspace / LAST_STOP_FILE.format(run=run)),
        # The interpreter that runs Snakemake runs the scripts too, unless an environment
        # replaces it.
        PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    )
