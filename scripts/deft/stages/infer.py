"""Score the KPI set with both weight files of a phase."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deft.changenet.infer import score_views, scored_csv, shortest
from deft.changenet.onnx.export import export_onnx
from deft.changenet.onnx.scorer import Scorer, runtime_facts
from deft.changenet.views import VIEWS, views_of
from deft.core import layout
from deft.core.errors import HardStop
from deft.core.files import copy_atomically, sha256_file, write_json_atomic, write_text_atomic
from deft.kpi.evaluation import KINDS
from deft.run.stage_files import read, written
from deft.run.state import update_phase
from deft.stages.context import Context
from deft.stages.weights import weights_file, weights_table
from deft.tables.changenet_table import SCORE_COLUMN, read_table
from deft.tables.corrections import KPI

PASSES_A_STEP = 3  # forward, and twice as much backward

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
    views: str = "one",
    share: float = 0.0,
) -> str:
    """Write both inference tables and ``inference.json``; equal weights are scored once.

    With ``runtime`` onnx each weights file is exported and scored by ONNX Runtime; the record then
    names the provider it really ran on and the export's digest. The exports are not kept: the same
    weights give the same file again at the hand-off.

    ``views``: what makes a score (``score_views``). Beside it the KPI set is scored by another, to
    be compared, where that takes at most ``share`` of the training's passes of the network.
    """
    ran: dict[str, Any] = {"name": runtime}
    other = _other_views(context, files.weights, views, share, runtime)
    scoring = Scoring(device, threads, compile, views, other.name if other.scored else None)

    def score(kind: str, weights: Path, out: Path) -> tuple[int, dict[str, Any]]:
        nonlocal ran
        if runtime != "onnx":
            return _scored(context, weights, out, scoring)
        rows, ran, more = _by_onnx(context, weights, out, scoring)
        return rows, more

    facts = score_kinds(context, files, score)
    where = f" by ONNX Runtime ({ran['provider']})" if runtime == "onnx" else ""
    passes = len(views_of(views, context.spec))
    told = {"score_views": views, "passes": passes, "other_views": other._asdict()}
    done = record_scores(context, files, phase, facts, ran, told)
    return done + where + other.text(share)


class OtherViews(NamedTuple):
    """Views to be compared with those of the scores; ``share`` of the training's passes, if known.

    A pass is a pair through the network; a training step counts three a pair.
    """

    name: str
    share: float | None
    scored: bool

    def text(self, limit: float) -> str:
        """Return why the KPI set is not scored by them, or nothing."""
        if self.scored or not limit or self.share is None:
            return ""
        return (
            f" · not by {self.name}: {100 * self.share:.3g}% of the training "
            f"(score_views_share is {100 * limit:g}%)"
        )


@dataclass(frozen=True)
class Scoring:
    """How a table is scored; ``other``: views whose scores are wanted beside those of ``views``."""

    device: str
    threads: int
    compile: bool = False
    views: str = "one"
    other: str | None = None


def _other_views(
    context: Context, weights: Path, views: str, share: float, runtime: str
) -> OtherViews:
    """Return with which views the scores are compared, and whether that is cheap enough.

    One view is scored whatever it takes: torch has it on the way.
    """
    name = "turns" if views == "one" else "one"
    if name == "one":  # what TAO's own inference gives, so the hand-off tells it
        return OtherViews(name, 0.0, True)
    record = weights_table(weights)
    rows, epochs = record.get("rows"), record.get("epochs")
    if not (isinstance(rows, int) and isinstance(epochs, int) and rows * epochs > 0):
        return OtherViews(name, None, False)  # weights of another tool: its training is unknown
    passes = len(views_of(name, context.spec)) - (runtime != "onnx")
    if not passes:  # pictures that have one view
        return OtherViews(name, 0.0, False)
    scored = len(read_table(context.workspace / layout.KPI_TABLE, check_labels=False))
    files = len({record["best_val"], record["latest"]})
    found = round(passes * scored * files / (PASSES_A_STEP * rows * epochs), 6)
    return OtherViews(name, found, found <= share)


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
    context: Context,
    files: Files,
    phase: str,
    facts: dict[str, Any],
    runtime: dict[str, Any],
    told: Mapping[str, Any] | None = None,
) -> str:
    """Write ``inference.json`` and the state; return the summary's beginning."""
    kept = [one.as_dict() for one in context.corrections(KPI)]
    corrections = {"corrections": kept} if kept else {}  # with which laps will choose their start
    write_json_atomic(
        files.facts, {"kinds": facts, "runtime": runtime, **(told or {}), **corrections}
    )
    update_phase(context.run.dir, phase, stage_completed="inference")
    distinct = len({told["weights_sha256"] for told in facts.values()})
    return f"{facts['best_val']['rows']} KPI rows scored with {distinct} weight file(s)"


def _scored(
    context: Context, weights: Path, out: Path, scoring: Scoring, onnx: Scorer | None = None
) -> tuple[int, dict[str, Any]]:
    """Write a table's scores; return its rows and what the record says of other views."""
    table = context.workspace / layout.KPI_TABLE
    wanted = {scoring.views, scoring.other or scoring.views} if onnx is None else {scoring.views}
    found, rows = score_views(
        context.spec,
        weights,
        table,
        context.image_root,
        device=scoring.device,
        threads=scoring.threads,
        onnx=onnx,
        compile=scoring.compile,
        levels=context.picture_levels,
        workspace=context.root,
        views=max(wanted, key=list(VIEWS).index),
    )
    if rows.empty:
        raise HardStop("kpi_invalid", "the KPI table has no row", file=table)
    write_text_atomic(out, scored_csv(rows, found.pop(scoring.views)))
    return len(rows), {"views": {name: _told(context, name, s) for name, s in found.items()}}


def _told(context: Context, name: str, scores: np.ndarray) -> dict[str, Any]:
    """Return what the record says of further views: how many, and each row's score."""
    passes = len(views_of(name, context.spec))
    return {"passes": passes, "scores": [float(shortest(score)) for score in scores]}


def _by_onnx(
    context: Context, weights: Path, out: Path, scoring: Scoring
) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Export, score; return (rows, what ran, what was exported and scored beside)."""
    with tempfile.TemporaryDirectory(dir=context.run.dir, prefix=".onnx.") as folder:
        path = Path(folder) / "model.onnx"
        exported = export_onnx(context.spec, weights, path, views=scoring.views)
        scorer = Scorer(path, device=scoring.device, threads=scoring.threads)
        rows, _ = _scored(context, weights, out, scoring, scorer)
        more: dict[str, Any] = {"onnx_sha256": exported["sha256"], "views": {}}
        if scoring.other:
            name, again = scoring.other, Path(folder) / "other.csv"
            export_onnx(context.spec, weights, path, views=name)
            other = Scorer(path, device=scoring.device, threads=scoring.threads)
            _scored(context, weights, again, replace(scoring, views=name, other=None), other)
            scores = read_table(again, check_labels=False)[SCORE_COLUMN].to_numpy(np.float32)
            more["views"][name] = _told(context, name, scores)
        return rows, runtime_facts(scorer), more
