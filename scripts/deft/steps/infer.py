"""Score the KPI set with both weight files of a phase."""

from __future__ import annotations

import shutil

from deft import layout
from deft.changenet.infer import infer_table
from deft.errors import HardStop
from deft.evaluate import KINDS
from deft.files import sha256_file, write_json_atomic
from deft.state import update_phase
from deft.steps.context import Context


def infer_phase(context: Context, phase: str, *, device: str, threads: int) -> str:
    """Write both inference tables and ``inference.json``; equal weights are scored once."""
    weights = context.weights_table(phase)
    digests = {entry["path"]: entry["sha256"] for entry in weights["files"]}
    folder = context.run.phase(phase) / "inference"
    facts = {}
    for kind in KINDS:
        name = weights[kind]
        out = folder / kind / "inference.csv"
        twin = next((k for k, f in facts.items() if f["weights_sha256"] == digests[name]), None)
        if twin:
            out.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / twin / "inference.csv", out)
            rows = facts[twin]["rows"]
        else:
            rows = infer_table(
                context.spec,
                context.weights_file(phase, name, digests[name]),
                context.workspace / layout.KPI_TABLE,
                context.image_root,
                out,
                device=device,
                threads=threads,
            )
        if not rows:
            raise HardStop(
                "kpi_invalid", "the KPI table has no row", file=context.workspace / layout.KPI_TABLE
            )
        facts[kind] = {
            "weights": name,
            "weights_sha256": digests[name],
            "csv": f"{kind}/inference.csv",
            "csv_sha256": sha256_file(out),
            "rows": rows,
        }
    write_json_atomic(folder / "inference.json", {"kinds": facts})
    update_phase(context.run.dir, phase, stage_completed="inference")
    files = len({digests[weights[kind]] for kind in KINDS})
    return f"{facts['best_val']['rows']} KPI rows scored with {files} weight file(s)"
