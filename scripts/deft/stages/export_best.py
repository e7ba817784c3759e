"""The best model as ONNX: export, checks on the KPI set, the folder ``best_model/``."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deft.changenet.data.pairs import open_pairs
from deft.changenet.infer import score_table
from deft.changenet.onnx import bundle
from deft.changenet.onnx.export import export_onnx
from deft.changenet.onnx.int8 import try_int8
from deft.changenet.onnx.parity import (
    ROWS_KEPT,
    compare,
    gate,
    hardest_rows,
)
from deft.changenet.onnx.scorer import CUDA, Scorer, runtime_facts
from deft.core import layout
from deft.core.commands import again
from deft.core.errors import HardStop
from deft.core.files import read_json, sha256_file
from deft.core.reading import check_shape
from deft.core.registered import kind_of
from deft.kpi.evaluation import read_scores
from deft.kpi.handed_off import threshold_to_set
from deft.record.records import read_decision, read_metrics, refuse
from deft.run.stage_files import read, written
from deft.score_kit.network import Network
from deft.score_kit.prepare import facts_of
from deft.score_kit.statistics import reference
from deft.stages.context import Context
from deft.stages.export_scored import as_handed_off, embeddings
from deft.stages.export_views import cost, first_stage, one_view_graph
from deft.stages.run_tables import scored_table
from deft.stages.weights import chosen_weights
from deft.tables.changenet_table import SCORE_COLUMN, line_of

COMPARED_ROWS = 4000  # of a larger KPI set: the rows nearest to the threshold, and a spread


@dataclass(frozen=True)
class Files:
    """What :func:`export_best` reads and writes."""

    decision: Path = read("the decision that ended the loop")
    metrics: Path = read("metrics.json of the best phase, its weights below train/ beside it")
    inference: Path = read("inference.json of that phase, its tables in folders beside it")
    facts: Path = written("export.json; the model and what goes with it stand beside it")


def export_best(
    context: Context,
    files: Files,
    *,
    device: str,
    threads: int,
    int8: bool,
    views: str = "one",
    two_stage: bool = False,
) -> str:
    """Write ``best_model/`` of the decided best phase; returns the status line's summary.

    ``views``: the setting ``score_views``, by which the phase's scores were made; ``two_stage``:
    ``score_two_stage``.

    Raises HardStop ``score_invalid`` when ONNX Runtime decides a KPI part otherwise than the
    pipeline did, beyond float noise, and whatever
    :func:`deft.changenet.onnx.export.export_network` raises.
    """
    phase = read_decision(files.decision)["best_phase"]
    metrics = read_metrics(files.metrics)
    if metrics["phase"] != phase:
        refuse(files.metrics, f"it is that of {metrics['phase']}, and the best phase is {phase}")
    kpi_threshold = metrics["kinds"][metrics["chosen"]]["recall_point"]["threshold"]
    weights = chosen_weights(context, files.metrics)
    recorded = read_scores(scored_table(context, files.inference, metrics["chosen"]))
    scored_by = read_json(files.inference).get("score_views", "one")
    if scored_by != views:
        raise HardStop(
            "config_invalid",
            f"the scores of {phase} are of score_views {scored_by}, not of {views}",
            file=files.inference,
            fix=f"set score_views: {scored_by}, or score it again: "
            f"{again('-R', context.relative(files.inference))}",
        )
    folder = files.facts.parent
    shutil.rmtree(folder, ignore_errors=True)  # only after all that is read was whole
    exported = export_onnx(context.spec, weights, folder / bundle.MODEL, views=views)

    table = context.workspace / layout.KPI_TABLE
    levels = context.picture_levels
    kpi = open_pairs(context.spec, table, context.image_root, levels=levels, workspace=context.root)
    scores = recorded[SCORE_COLUMN].to_numpy(dtype=np.float32)
    if len(scores) != len(kpi):
        raise HardStop(
            "csv_invalid",
            f"the KPI table has {len(kpi)} rows, but {len(scores)} were scored",
            file=table,
            fix=f"start another run: {again('preflight', run='new')}",
        )
    safe = threshold_to_set(scores, kpi_threshold)
    refuse_other_decisions(scores, safe, kpi_threshold, table)
    rows = hardest_rows(scores, safe, COMPARED_ROWS)
    by_onnx = read_json(files.inference).get("runtime", {}).get("name") == "onnx"
    scorer = Scorer(
        folder / bundle.MODEL, device=_device(device, asserted=by_onnx), threads=threads
    )
    facts = bundle.preprocessing(
        context.spec,
        exported,
        threshold=safe,
        kpi_threshold=float(np.float32(kpi_threshold)),
        levels=levels,
        register=kind_of(context.workspace),
    )
    size = context.spec.dataset.classify.batch_size
    network = Network(scorer.path, facts_of(facts), scorer.session, scorer.provider, size)
    unread, found = as_handed_off(network, scorer, kpi, rows, threads)
    good = np.flatnonzero((kpi.labels == 0) & (scores <= np.float32(safe)))
    seen = None if unread else embeddings(facts, exported, folder, kpi, good, size, threads)
    parity = {
        "at_safe_threshold": compare(scores[rows], found, safe),
        "at_kpi_threshold": compare(scores[rows], found, kpi_threshold),
    }
    gate(parity["at_safe_threshold"], table, "the exported ONNX")
    if by_onnx:  # the recorded scores are ONNX Runtime's own, so torch is asked as well
        parity["torch"] = compare(_by_torch(context, weights, device, threads, views), scores, safe)
        gate(parity["torch"], table, "torch", "report it: both ran in float32")

    record: dict[str, Any] = {
        "schema_version": 1,
        "phase": phase,
        "weights": context.relative(weights),
        "weights_sha256": sha256_file(weights),
        **exported,
        "runtime": runtime_facts(scorer),
        "kpi_rows": len(kpi),
        "parity": {name: _without_rows(p) for name, p in parity.items()},
        "int8": None,
        "score_py_cannot_read": unread,
    }
    if views != "one":
        with one_view_graph(context, weights, scorer, threads, keep=two_stage) as graph:
            record["views_cost"] = cost(scorer, graph[0], kpi, size)
            if two_stage:
                facts["first_stage"], record["two_stage"] = first_stage(
                    network,
                    graph,
                    one_view(files.inference, metrics["chosen"]),
                    scores,
                    rows,
                    lambda staged: as_handed_off(staged, scorer, kpi, rows, threads)[1],
                    table=table,
                )
    if int8:
        training = open_pairs(
            context.spec,
            context.workspace / layout.BASE_TABLE,
            context.image_root,
            levels=levels,
            workspace=context.root,
        )
        record["int8"] = try_int8(
            folder / bundle.MODEL,
            folder / bundle.INT8,
            kpi,
            training,
            scores[rows],
            safe,
            device="cuda" if scorer.provider == CUDA else "cpu",
            threads=threads,
            rows=rows,
        )
    bundle.write_bundle(
        folder,
        facts,
        record,
        reference(scores, kpi.labels == 0, safe),
        run=context.run.name,
        phase=phase,
        embeddings=seen,
    )
    return _summary(phase, record)


def refuse_other_decisions(
    scores: np.ndarray, safe: float, kpi_threshold: float, table: str | Path
) -> None:
    """Stop with ``score_invalid`` where the handed-off threshold decides otherwise than the KPI's.

    ``scores``: float32 (n,) of all rows of ``table``. Thresholds are compared in float32.
    """
    other = (scores > np.float32(safe)) != (scores > np.float32(kpi_threshold))
    if other.any():
        raise HardStop(
            "score_invalid",
            f"the threshold to hand off, {safe:.9g}, decides {int(other.sum())} of {len(scores)} "
            f"KPI parts otherwise than the KPI's {kpi_threshold:.9g}",
            file=table,
            row=[line_of(int(i)) for i in np.flatnonzero(other)[:ROWS_KEPT]],
            fix="report it with the run's inference.csv: both must decide alike",
        )


def _device(device: str, *, asserted: bool) -> str:
    """Return where ONNX Runtime checks the export.

    Where it is no runtime of the loop, a CPU build of onnxruntime on a machine with a card is no
    mistake: the check then runs on the CPU, and the record says so.
    """
    import onnxruntime

    if asserted or device == "cpu":
        return device
    cuda = torch.cuda.is_available() and CUDA in onnxruntime.get_available_providers()
    return "cuda" if cuda else "cpu"


def _by_torch(context: Context, weights: Path, device: str, threads: int, views: str) -> np.ndarray:
    table = context.workspace / layout.KPI_TABLE
    scores, _ = score_table(
        context.spec,
        weights,
        table,
        context.image_root,
        device=device,
        threads=threads,
        levels=context.picture_levels,
        workspace=context.root,
        views=views,
    )
    return scores


def one_view(inference: Path, kind: str) -> np.ndarray:
    """Return the KPI parts' float32 scores from one view, which the inference wrote down."""
    told = read_json(inference)
    problem = check_shape(told, {"kinds": {kind: {"views": {"one": {"scores": [float]}}}}})
    if problem:
        refuse(inference, problem)
    return np.asarray(told["kinds"][kind]["views"]["one"]["scores"], np.float32)


def _without_rows(found: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in found.items() if k != "flipped"}


def _summary(phase: str, record: dict[str, Any]) -> str:
    found = record["parity"]["at_safe_threshold"]
    flips = found["flips"]
    text = (
        f"{phase} as ONNX: {found['pairs']} KPI parts, scores differ by at most "
        f"{found['largest_difference']:.2g}, margin {found['smallest_margin']:.2g}, "
        f"{f'{flips} decided otherwise' if flips else 'no flip'}"
    )
    torch_flips = record["parity"].get("torch", {}).get("flips", 0)
    if torch_flips:
        text += f" (warning: torch decides {torch_flips} otherwise, within float noise)"
    if record.get("score_py_cannot_read"):
        text += f" (warning: score.py cannot read them: {record['score_py_cannot_read']})"
    if not found["above_noise"]:
        text += " (warning: margin within float noise)"
    if "views_cost" in record:
        text += f"; {record['score_views']}: {record['views_cost']['times_the_cost']:g} × the cost"
    if "two_stage" in record:
        again = 100 * record["two_stage"]["share_again"]
        text += f", in two stages {again:.3g}% of the parts over all views"
    if record["int8"]:
        text += f"; int8 {'kept' if record['int8']['kept'] else 'not kept'}"
        text += f": {record['int8']['reason']}"
    return text
