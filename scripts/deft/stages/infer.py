"""Score the KPI set with both weight files of a phase."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
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
from deft.tables.corrections import KPI

# Kind, weight file and table to write -> its rows, and what else the record says of the kind.
Score = Callable[[str, Path, Path], tuple[int, dict[str, Any]]]


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
    ran: dict[str, Any] = {"name": runtime}

    def score(kind: str, weights: Path, out: Path) -> tuple[int, dict[str, Any]]:
        nonlocal ran
        if runtime != "onnx":
            return _scored(context, weights, out, device, threads, compile=compile), {}
        rows, ran, exported = _by_onnx(context, weights, out, device, threads)
        return rows, exported

    facts = score_kinds(context, files, score)
    where = f" by ONNX Runtime ({ran['provider']})" if runtime == "onnx" else ""
    return record_scores(context, files, phase, facts, ran) + where


def score_kinds(context: Context, files: Files, score: Score) -> dict[str, Any]:
    """Write both inference tables, with ``score`` for each distinct weight file.

    Returns kind -> what ``inference.json`` says of it.
    """
    weights = weights_table(files.weights)
    digests = {entry["path"]: entry["sha256"] for entry in weights["files"]}
    facts: dict[str, Any] = {}
    for kind in KINDS:
        name, out = weights[kind], getattr(files, kind)
        csv = f"{kind}/inference.csv"
        twin = next((k for k, f in facts.items() if f["weights_sha256"] == digests[name]), None)
        if twin:
            copy_atomically(getattr(files, twin), out)
            facts[kind] = {**facts[twin], "weights": name, "csv": csv}
            continue
        file = weights_file(context, files.weights.with_name(name), digests[name])
        rows, more = score(kind, file, out)
        facts[kind] = {
            "weights": name,
            "weights_sha256": digests[name],
            "csv": csv,
            "csv_sha256": sha256_file(out),
            "rows": rows,
            **more,
        }
    return facts


def record_scores(
    context: Context, files: Files, phase: str, facts: dict[str, Any], runtime: dict[str, Any]
) -> str:
    """Write ``inference.json`` and the state; return the summary's beginning."""
    kept = [one.as_dict() for one in context.corrections(KPI)]
    corrections = {"corrections": kept} if kept else {}  # with which laps will choose their start
    write_json_atomic(files.facts, {"kinds": facts, "runtime": runtime, **corrections})
    update_phase(context.run.dir, phase, stage_completed="inference")
    distinct = len({told["weights_sha256"] for told in facts.values()})
    return f"{facts['best_val']['rows']} KPI rows scored with {distinct} weight file(s)"


def _scored(
    context: Context,
    weights: Path,
    out: Path,
    device: str,
    threads: int,
    onnx: Scorer | None = None,
    compile: bool = False,
) -> int:
    table = context.workspace / layout.KPI_TABLE
    rows = infer_table(
        context.spec,
        weights,
        table,
        context.image_root,
        out,
        device=device,
        threads=threads,
        onnx=onnx,
        compile=compile,
        levels=context.picture_levels,
        workspace=context.root,
    )
    if not rows:
        raise HardStop("kpi_invalid", "the KPI table has no row", file=table)
    return rows


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
