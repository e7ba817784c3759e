"""Inference of both weight files in TAO's container; its tables as the contract's."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deft.changenet.infer import scored_csv
from deft.core import layout
from deft.core.errors import HardStop
from deft.core.files import write_text_atomic
from deft.stages.context import Context
from deft.stages.infer import Files, record_scores, score_kinds
from deft.stages.train import table_changes
from deft.tables.changenet_table import MANDATORY, SCORE_COLUMN, line_of, read_table
from deft.tao.spec import container_spec, write_spec
from deft.tao.stages import inference_arguments
from deft.tao.work import Work

STAGE = "inference"
TABLE = "inference.csv"


def tao_infer(context: Context, files: Files, phase: str) -> str:
    """Write both inference tables and ``inference.json``; equal weights are scored once.

    Raises
    ------
    HardStop ``missing_input``, ``spec_invalid``, ``kpi_invalid`` (no row), ``score_invalid`` (other
    rows than the KPI table's, or a score that is not finite); StageFailed.
    """
    image = Work(context, phase, STAGE).image()

    def score(kind: str, weights: Path, out: Path) -> tuple[int, dict[str, Any]]:
        return _scored(context, phase, kind, weights, out), {}

    facts = score_kinds(context, files, score)
    ran = {"name": "tao", "image": image.name, "image_id": image.id}
    return f"{record_scores(context, files, phase, facts, ran)} in TAO's container"


def _scored(context: Context, phase: str, kind: str, weights: Path, out: Path) -> int:
    work = Work(context, phase, STAGE, kind)
    work.clear()
    changes = table_changes(context) | {
        "results_dir": str(work.out),
        "inference.results_dir": str(work.out),
        "inference.checkpoint": str(context.root / context.relative(weights)),
        # One process: the rows stay in the table's order.
        "inference.num_gpus": 1,
        "inference.gpu_ids": [0],
        "dataset.classify.augmentation_config.augment": False,
        # The file holds every weight; a backbone's own would be read to be replaced.
        "model.backbone.pretrained_backbone_path": "",
        "train.pretrained_model_path": "",
        "train.resume_training_checkpoint_path": "",
    }
    data, named = container_spec(context.workspace / layout.SPEC, changes, context.root)
    work.scratch.mkdir(parents=True, exist_ok=True)
    write_spec(data, work.scratch / "spec.yaml")
    work.run(inference_arguments(work.scratch / "spec.yaml"), read=named)
    table = read_table(context.workspace / layout.KPI_TABLE)
    if table.empty:
        raise HardStop(
            "kpi_invalid", "the KPI table has no row", file=context.workspace / layout.KPI_TABLE
        )
    scores = scores_of(found_table(work.out), table)
    write_text_atomic(out, scored_csv(table, scores))
    shutil.rmtree(work.out, ignore_errors=True)
    return len(table)


def found_table(folder: Path) -> Path:
    """Return TAO's inference table; releases differ in whether they add a folder of the name."""
    found = sorted(folder.rglob(TABLE))
    if len(found) != 1:
        raise HardStop(
            "score_invalid",
            f"TAO's inference ended in good order, but left {len(found)} {TABLE}",
            file=folder,
            fix="see the stage's log",
        )
    return found[0]


def scores_of(path: Path, table: pd.DataFrame) -> np.ndarray:
    """Return TAO's scores (rows,) float32 in the order of ``table``.

    Rows are known by the four mandatory columns; equal ones are taken in turn.

    Raises HardStop ``score_invalid`` naming the first row that is missing, too many or not finite.
    """
    theirs = read_table(path, check_labels=False)
    if SCORE_COLUMN not in theirs:
        raise HardStop("score_invalid", f"column {SCORE_COLUMN} is missing", file=path, row=1)
    ours, found = _keys(table), _keys(theirs)
    place = {key: i for i, key in enumerate(found)}
    absent = [i for i, key in enumerate(ours) if key not in place]
    if absent or len(found) != len(ours):
        raise HardStop(
            "score_invalid",
            f"TAO scored {len(found)} rows, the KPI table has {len(ours)}; "
            f"{len(absent)} of them have no score",
            file=path,
            row=[line_of(i) for i in absent],
            fix="see the stage's log; a picture that TAO could not read may be the cause",
        )
    raw = pd.to_numeric(theirs[SCORE_COLUMN], errors="coerce").to_numpy(dtype=np.float32)
    scores = raw[[place[key] for key in ours]]
    broken = np.flatnonzero(~np.isfinite(scores))
    if len(broken):
        raise HardStop(
            "score_invalid",
            f"{len(broken)} row(s) have a score that is not finite (first: {scores[broken[0]]})",
            file=path,
            row=[line_of(i) for i in broken],
            fix="check the training's loss in train.log",
        )
    return scores


def _keys(table: pd.DataFrame) -> list[tuple[str, ...]]:
    """Return a key of every row: its mandatory cells, and how many equal rows came before."""
    cells = table[list(MANDATORY)].apply(lambda column: column.str.strip())
    rows = list(cells.itertuples(index=False, name=None))
    turns = cells.groupby(list(MANDATORY), sort=False).cumcount()
    return [(*row, str(turn)) for row, turn in zip(rows, turns, strict=True)]
