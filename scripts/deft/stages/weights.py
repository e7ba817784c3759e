"""Weight files of a phase, found by the records that speak of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deft.core.errors import HardStop
from deft.core.files import read_json, sha256_file
from deft.stages.context import Context, damaged

WEIGHTS = {"files": [{"path": str, "sha256": str}], "best_val": str, "latest": str}


def weights_table(record: Path) -> dict[str, Any]:
    """Return a training's ``weights.json``."""
    table: dict[str, Any] = read_json(record, WEIGHTS)
    known = {entry["path"] for entry in table["files"]}
    if not {table["best_val"], table["latest"]} <= known:
        raise damaged(record, "it does not list the model files that it chooses")
    return table


def weights_file(context: Context, path: Path, sha256: str) -> Path:
    """Return a weight file after checking that it is the one that was trained."""
    advice = f"snakemake {context.relative(path)}"
    if context.engine == "tao":  # a training in a container is not repeated to the same bytes
        advice = f"snakemake -R {context.relative(path.with_name('weights.json'))}"
    if not path.is_file():
        raise HardStop("missing_input", "a weight file of the run is gone", file=path, fix=advice)
    if sha256_file(path) != sha256:
        raise HardStop(
            "missing_input",
            "a weight file is not the one that was trained (other SHA-256)",
            file=path,
            fix=f"delete it, then {advice}",
        )
    return path


def chosen_weights(context: Context, record: Path) -> Path:
    """Return the weight file that the KPI chose: that of a phase's ``metrics.json``."""
    metrics = read_json(record, {"weights": {"path": str, "sha256": str}})
    phase = record.absolute().parent.name
    if metrics.get("phase", phase) != phase:
        raise damaged(record, f"it is that of {metrics['phase']}")
    weights = metrics["weights"]
    path = record.parent / "train" / Path(weights["path"]).name
    return weights_file(context, path, weights["sha256"])
