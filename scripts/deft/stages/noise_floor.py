"""The noise floor of a run: its base table trained again with other seeds, scored as a phase is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from deft.changenet.infer import score_table
from deft.changenet.spec import Spec
from deft.changenet.training.options import IDENTITY, Options
from deft.changenet.training.train import train
from deft.core import layout
from deft.core.files import read_json, sha256_file, sha256_text, write_json_atomic
from deft.core.reading import check_shape
from deft.kpi.evaluation import KINDS, chosen_kind
from deft.kpi.noise import noise_floor
from deft.kpi.operating_point import at_recall, sweep
from deft.kpi.steady import far_geometric_mean_pct
from deft.record.records import read_metrics
from deft.run.stage_files import read, written
from deft.stages.context import Context
from deft.stages.run_tables import kpi_correct
from deft.stages.train import Files as TrainFiles
from deft.stages.train import phase_spec
from deft.tables.changenet_table import is_ng
from deft.tables.corrections import KPI, TRAINING

LEVELS_PCT = (100.0, 99.5, 99.0, 95.0)
SHAPE = {"seed": int, "made_of": str, "far_geometric_mean_pct": (int, float)}


@dataclass(frozen=True)
class Files:
    """What :func:`measure_noise` reads and writes."""

    metrics: Path = read("metrics.json of the baseline, which is one of the trainings")
    weights: Path = read("weights.json of the baseline")
    record: Path = written("noise.json; a folder a seed beside it while it trains")


def measure_noise(
    context: Context,
    files: Files,
    *,
    trainings: int,
    epochs: int,
    options: Options,
    min_recall: float,
) -> str:
    """Train the base table ``trainings`` times more and write ``noise.json``.

    A baseline that was given, not trained, is no member; the others are scored over its views.
    What is done of an interrupted measurement is kept.
    """
    baseline = read_metrics(files.metrics)
    out = files.record.parent
    spec = phase_spec(context, TrainFiles(out / "train" / "weights.json"), epochs)
    members, views = [], baseline.get("score_views", "one")
    if not read_json(files.weights).get("preseeded"):
        kind = baseline["kinds"][baseline["chosen"]]
        members.append({"seed": options.seed, **_kept(kind)})
    for step in range(1, trainings + 1):
        seeded = replace(options, seed=(options.seed + step) % 2**31, optimizer_state="none")
        folder = out / f"seed_{seeded.seed}"
        members.append(one_training(context, spec, folder, seeded, min_recall, views))
        print(
            f"noise floor: training {step} of {trainings}, seed {seeded.seed}, geometric mean of "
            f"FAR {members[-1]['far_geometric_mean_pct']:.4g} %",
            flush=True,
        )
    found = noise_floor([member["far_geometric_mean_pct"] for member in members])
    write_json_atomic(files.record, {"schema_version": 1, **found, "members": members})
    for name in ("dataset", *(f"seed_{member['seed']}" for member in members)):
        shutil.rmtree(out / name, ignore_errors=True)  # dataset: the table as it is corrected
    return (
        f"{found['trainings']} trainings of the base table: geometric mean of FAR "
        f"{found['lowest_pct']:.3g} to {found['highest_pct']:.3g} %, two differ by up to a factor "
        f"of {found['factor']:.3g}"
    )


def one_training(
    context: Context,
    spec: Spec,
    folder: Path,
    options: Options,
    min_recall: float,
    views: str = "one",
) -> dict[str, Any]:
    """Train once, score the KPI table with the weights that a phase would choose; its figures.

    A result in ``folder`` that was made of the same is returned. ``views``: ``score_views``.
    """
    record, made_of = folder / "result.json", _made_of(context, spec, options, min_recall, views)
    kept = read_json(record, {}) if record.is_file() else {}
    if not check_shape(kept, SHAPE) and kept["made_of"] == made_of:
        return kept
    facts = train(
        spec,
        out_dir=folder / "train",
        resume_dir=folder / "resume",
        workspace=context.workspace,
        options=options,
        log=lambda line: None,
    )
    table = context.workspace / layout.KPI_TABLE
    correct = kpi_correct(context, [one.as_dict() for one in context.corrections(KPI)])
    found: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        twin = next((k for k in found if facts[k] == facts[kind]), None)
        if twin:
            found[kind] = found[twin]
            continue
        scores, rows = score_table(
            context.spec,
            folder / "train" / facts[kind],
            table,
            context.image_root,
            device=options.device,
            threads=options.threads,
            levels=context.picture_levels,
            workspace=context.root,
            views=views,
        )
        rows = rows.assign(siamese_score=scores.astype(np.float64))
        rows = correct(rows) if correct else rows
        ng = np.array([is_ng(str(label)) for label in rows["label"]], bool)
        found[kind] = figures(rows["siamese_score"].to_numpy(), ng, min_recall)
    chosen = chosen_kind({kind: told["far_pct"] for kind, told in found.items()}, facts)
    result = {"seed": options.seed, "made_of": made_of, **found[chosen]}
    write_json_atomic(record, result)
    shutil.rmtree(folder / "train", ignore_errors=True)  # its weights: only figures are wanted
    shutil.rmtree(folder / "resume", ignore_errors=True)
    return result


def _made_of(context: Context, spec: Spec, options: Options, min_recall: float, views: str) -> str:
    """Return a digest of what a training's figures come from; pictures count by their names."""
    names = (layout.BASE_TABLE, layout.VALIDATION_TABLE, layout.KPI_TABLE)
    corrected = [one.as_dict() for table in (TRAINING, KPI) for one in context.corrections(table)]
    told = [
        spec.digest,
        {name: getattr(options, name) for name in IDENTITY},
        [sha256_file(context.workspace / name) for name in names],
        [corrected, context.picture_levels, min_recall, views],
    ]
    return sha256_text(json.dumps(told, sort_keys=True))


def figures(
    scores: np.ndarray, ng: np.ndarray, min_recall: float, levels: Sequence[float] = LEVELS_PCT
) -> dict[str, Any]:
    """Return FAR in percent at the required recall and at ``levels``, and the geometric mean."""
    swept = sweep(scores, ng)
    return {
        "far_pct": at_recall(swept, min_recall)["far_pct"],
        "far_at_recall_pct": {f"{p:g}": at_recall(swept, p / 100)["far_pct"] for p in levels},
        "far_geometric_mean_pct": far_geometric_mean_pct(scores, ng),
    }


def _kept(kind: dict[str, Any]) -> dict[str, Any]:
    """Return the same figures of a phase's metrics."""
    rows = {f"{row['min_recall_pct']:g}": row["far_pct"] for row in kind["recall_table"]}
    return {
        "far_pct": kind["recall_point"]["far_pct"],
        "far_at_recall_pct": {f"{p:g}": rows[f"{p:g}"] for p in LEVELS_PCT},
        "far_geometric_mean_pct": kind["far_geometric_mean_pct"],
    }
