"""Score the KPI set with both weight files of a phase."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deft.changenet.infer import infer_table
from deft.changenet.onnx.export import export_onnx
from deft.changenet.onnx.scorer import Scorer, runtime_facts
from deft.core import layout
from deft.core.errors import HardStop
from deft.core.files import copy_atomically, sha256_file, write_json_atomic
from deft.kpi.evaluation import KINDS
from deft.run.stage_files import read, written
from deft.run.state import update_phase
from deft.stages.context import Context
from deft.stages.weights import weights_file, weights_table


@dataclass(frozen=True)
class Files:
    """What :func:`infer` reads and writes."""

    weights: Path = read("weights.json, its model files beside it")
    facts: Path = written("inference.json")
    best_val: Path = written("the scores of the best weights")
    latest: Path = written("the scores of the last weights")


def infer(
    context: Context,
    files: Files,
    phase: str,
    *,
    device: str,
    threads: int,
    runtime: str = "torch",
    compile: bool = False,
) -> str:
    """Write both inference tables and ``inference.json``; equal weights are scored once.

    With ``runtime`` onnx each weights file is exported and scored by ONNX Runtime; the record then
    names the provider it really ran on and the export's digest. The exports are not kept: the same
    weights give the same file again at the hand-off.
    """
    weights = weights_table(files.weights)
    digests = {entry["path"]: entry["sha256"] for entry in weights["files"]}
    tables = {kind: getattr(files, kind) for kind in KINDS}
    facts: dict[str, Any] = {}
    ran: dict[str, Any] = {"name": runtime}
    for kind in KINDS:
        name = weights[kind]
        out = tables[kind]
        twin = next((k for k, f in facts.items() if f["weights_sha256"] == digests[name]), None)
        if twin:
            copy_atomically(tables[twin], out)
            facts[kind] = {**facts[twin], "weights": name, "csv": f"{kind}/inference.csv"}
            continue
        file = weights_file(context, files.weights.with_name(name), digests[name])
        exported: dict[str, Any] = {}
        if runtime == "onnx":
            rows, ran, exported = _by_onnx(context, file, out, device, threads)
        else:
            rows = _scored(context, file, out, device, threads, compile=compile)
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
            **exported,
        }
    write_json_atomic(files.facts, {"kinds": facts, "runtime": ran})
    update_phase(context.run.dir, phase, stage_completed="inference")
    distinct = len({digests[weights[kind]] for kind in KINDS})
    where = f" by ONNX Runtime ({ran['provider']})" if runtime == "onnx" else ""
    return f"{facts['best_val']['rows']} KPI rows scored with {distinct} weight file(s){where}"


def _scored(
    context: Context,
    weights: Path,
    out: Path,
    device: str,
    threads: int,
    onnx: Scorer | None = None,
    compile: bool = False,
) -> int:
    return infer_table(
        context.spec,
        weights,
        context.workspace / layout.KPI_TABLE,
        context.image_root,
        out,
        device=device,
        threads=threads,
        onnx=onnx,
        compile=compile,
        levels=context.picture_levels,
        workspace=context.root,
    )


def _by_onnx(
    context: Context, weights: Path, out: Path, device: str, threads: int
) -> tuple[int, dict[str, str], dict[str, str]]:
    """Export, score; return (rows, what ran, what was exported)."""
    with tempfile.TemporaryDirectory(dir=context.run.dir, prefix=".onnx.") as folder:
        path = Path(folder) / "model.onnx"
        exported = export_onnx(context.spec, weights, path)
        scorer = Scorer(path, device=device, threads=threads)
        rows = _scored(context, weights, out, device, threads, scorer)
        return rows, runtime_facts(scorer), {"onnx_sha256": exported["sha256"]}
