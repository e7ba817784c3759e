"""The smallest proof that a model works here: the runtime imports, the file loads, digests
agree.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from . import no_network
from .folder import Folder, Refusal
from .models import open_model
from .probe import machine

BLOCK = 1 << 20


def smoke(folder: Folder) -> str:
    """Load the model, write ``outputs/environment.json``; return the summary line."""
    parameters = folder.parameters
    for entry in folder.need("provenance")["files"]:
        path = folder.path(entry["path"])
        if not path.is_file():
            raise Refusal(f"{entry['path']} is not there (a link to {entry['origin']}?)")
        if digest(path) != entry["sha256"]:
            raise Refusal(f"{entry['path']} changed since the exploration began (other SHA-256)")
    model = open_model(folder, parameters)
    before = folder.read("environment", {})
    folder.write(
        "environment",
        {
            **before, "machine": machine(), "runtime": model.facts["runtime"],
            "network": no_network.protection(),
        },
    )  # fmt: skip
    return f"{model.facts['runtime']} on {model.facts['provider']} loads it"


def digest(path: str | Path) -> str:
    """Return a file's SHA-256."""
    found = hashlib.sha256()
    with open(path, "rb") as handle:
        while block := handle.read(BLOCK):
            found.update(block)
    return found.hexdigest()
