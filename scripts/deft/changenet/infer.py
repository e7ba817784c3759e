"""Scoring a table: the input table with one more column, ``siamese_score``."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np
import pandas as pd
import torch

from deft.changenet.data.pairs import open_pairs
from deft.changenet.device import pick_device
from deft.changenet.model import build_model
from deft.changenet.onnx.scorer import Scorer, score_pairs
from deft.changenet.precision import float32_scores
from deft.changenet.scoring import TableScorer
from deft.changenet.spec import Spec
from deft.changenet.speed import prepare
from deft.changenet.views import contained, views_of
from deft.changenet.weights import load_weights
from deft.core.errors import HardStop
from deft.core.files import write_text_atomic
from deft.tables.changenet_table import SCORE_COLUMN, line_of


class How(TypedDict, total=False):
    """How a table is scored; the defaults are those of :func:`score_views`.

    With ``onnx``, the loaded export of the weights, ONNX Runtime scores instead of torch (on its
    own device). ``views``: the setting ``score_views`` (:mod:`deft.changenet.views`); an ONNX file
    has its own. ``compile``: see :func:`deft.changenet.speed.prepare`; ``levels``:
    :func:`deft.tables.pictures.open_rgb`; ``workspace``: see
    :class:`deft.changenet.data.pairs.PairData`.
    """

    device: str
    threads: int
    batch_size: int | None
    onnx: Scorer | None
    compile: bool
    levels: int | None
    workspace: str | Path | None
    views: str


def infer_table(
    spec: Spec,
    weights_path: str | Path,
    table_path: str | Path,
    images_dir: str | Path,
    out_csv: str | Path,
    **how: Unpack[How],
) -> int:
    """Score every row of a table and write the result; return the number of rows.

    Scores are float32 in their shortest form; every other cell stays as it was, in the same order.
    They do not depend on the batch size beyond float noise (about 1e-6).

    Raises
    ------
    HardStop ``csv_invalid``, ``image_invalid``, ``missing_input``, ``spec_invalid`` (weights that
    do not fit), ``score_invalid`` (a score that is not finite, with its row).
    """
    scores, table = score_table(spec, weights_path, table_path, images_dir, **how)
    write_text_atomic(out_csv, scored_csv(table, scores))
    return len(table)


def scored_csv(table: pd.DataFrame, scores: np.ndarray) -> str:
    """Return ``table`` (text cells) with ``scores`` (float32) as last column, as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*table.columns, SCORE_COLUMN])
    for cells, score in zip(table.itertuples(index=False, name=None), scores, strict=True):
        writer.writerow([*cells, shortest(score)])
    return text.getvalue()


def score_table(
    spec: Spec,
    weights_path: str | Path,
    table_path: str | Path,
    images_dir: str | Path,
    **how: Unpack[How],
) -> tuple[np.ndarray, pd.DataFrame]:
    """Return (scores float32 (rows,), table); see :func:`infer_table`."""
    found, table = score_views(spec, weights_path, table_path, images_dir, **how)
    return found[how.get("views", "one")], table


def score_views(
    spec: Spec,
    weights_path: str | Path,
    table_path: str | Path,
    images_dir: str | Path,
    *,
    device: str = "cpu",
    threads: int = 1,
    batch_size: int | None = None,
    onnx: Scorer | None = None,
    compile: bool = False,
    levels: int | None = None,
    workspace: str | Path | None = None,
    views: str = "one",
) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """Return (name of views -> scores float32 (rows,), table); see :func:`infer_table`.

    Torch gives the scores of every name that ``views`` contains, an ONNX file those of its own.
    """
    data = open_pairs(spec, table_path, images_dir, levels=levels, workspace=workspace)
    if SCORE_COLUMN in data.table.columns:
        raise HardStop(
            "csv_invalid",
            f"the table already has a column {SCORE_COLUMN}",
            file=table_path,
            row=1,
            fix="give the table without scores",
        )
    size = batch_size or spec.dataset.classify.batch_size
    if onnx is not None:
        found = {views: score_pairs(onnx, data, size)}
    else:
        target = pick_device(device)
        torch.set_num_threads(max(1, threads))
        model = build_model(spec)
        load_weights(model, weights_path)
        prepare(model, target, compile=compile)
        scorer = TableScorer(model, target, cast=float32_scores, views=views_of(views, spec))
        each = scorer.each_view(data, size)
        found = {
            name: model.score(each[: len(views_of(name, spec))].mean(dim=0)).numpy()
            for name in contained(views)
        }
    for scores in found.values():
        _refuse_endless(scores, weights_path, table_path)
    return found, data.table


def _refuse_endless(scores: np.ndarray, weights_path: str | Path, table_path: str | Path) -> None:
    """Stop with ``score_invalid`` for a score that is no finite number."""
    broken = np.flatnonzero(~np.isfinite(scores))
    if len(broken):
        raise HardStop(
            "score_invalid",
            f"{len(broken)} row(s) have a score that is not finite (first: {scores[broken[0]]})",
            file=table_path,
            row=[line_of(i) for i in broken],
            fix=f"check the model file {weights_path}",
        )


def shortest(score: np.float32) -> str:
    """Return the fewest digits that give back the same float32, e.g. ``0.07226172``."""
    return repr(float(str(np.float32(score))))
