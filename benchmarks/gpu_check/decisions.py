"""Decisions of a trained network on the KPI table: the device's and the CPU's must be the same.

The project's threshold is the score of a row (see
:func:`deft.kpi.operating_point.candidate_thresholds`). That row lies on it: with the
other side's scores, a millionth away, it may fall to either side. So each side sets its threshold
and decides by it, and the two must decide alike. By the other side's threshold, too, all rows must
be decided alike but those that set it, which are counted.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from deft.changenet.data.pairs import open_pairs
from deft.changenet.infer import score_table
from deft.changenet.model import build_model
from deft.changenet.scoring import outputs
from deft.changenet.training.options import Options
from deft.changenet.training.train import train
from deft.changenet.weights import load_weights
from deft.kpi.operating_point import recall_point, sweep
from gpu_check.bench import Bench
from gpu_check.result import Result, judged

SCORE_LIMIT = 1e-5
RECALLS = (1.0, 0.95)


def flips(bench: Bench) -> Iterator[Result]:
    """Train on the device, score on both, and compare with both sides' thresholds."""
    spec = bench.spec(num_epochs=bench.pick(20, 4))
    out = bench.own / "out"
    options = Options(device=bench.name, seed=1, threads=bench.threads)
    folders = {"out_dir": out, "resume_dir": bench.own / "resume"}
    result = train(spec, workspace=bench.workspace(), **folders, options=options, log=print)
    weights = out / result["best_val"]
    _, table, images = bench.tables()
    given = {"threads": bench.threads}
    cpu, rows = score_table(spec, weights, table, images, device="cpu", **given)
    there, _ = score_table(spec, weights, table, images, device=bench.name, **given)
    again, _ = score_table(spec, weights, table, images, device=bench.name, batch_size=7, **given)
    ng = (rows["label"] != "PASS").to_numpy()
    changed, strangers, setters = 0, 0, 0
    apart = 0.0
    for recall in RECALLS:
        cut, cut_there = _threshold(cpu, ng, recall), _threshold(there, ng, recall)
        changed += int(((cpu > cut) != (there > cut_there)).sum())
        apart = max(apart, abs(float(cut) - float(cut_there)))
        for of, level in ((cpu, cut), (there, cut_there)):
            flipped = (cpu > level) != (there > level)
            setters += int((flipped & (of == level)).sum())
            strangers += int((flipped & (of != level)).sum())
    figures = {
        "decision_flips": changed,
        "flips_by_the_others_threshold": strangers,
        "flips_of_rows_that_set_it": setters,
        "threshold_difference": apart,
        "largest_score_difference": float(np.abs(cpu - there).max()),
        "rows": len(rows),
        "auroc": _auroc(cpu, ng),
        "other_batch_size_difference": float(np.abs(again - there).max()),
        **_bfloat16(bench, spec, weights, cpu, ng),
    }
    limits = {
        "decision_flips": 0,
        "flips_by_the_others_threshold": 0,
        "largest_score_difference": SCORE_LIMIT,
        "other_batch_size_difference": SCORE_LIMIT,
    }
    yield judged("decision flips", figures, limits)


def _threshold(scores: np.ndarray, ng: np.ndarray, recall: float) -> np.float32:
    """Return the threshold that the project sets at ``recall`` (a part above it is rejected)."""
    table = sweep(scores, ng)
    return table["threshold"][recall_point(table, recall)]


def _auroc(scores: np.ndarray, ng: np.ndarray) -> float:
    """Return the share of (defect, good) pairs in which the defect scores higher."""
    above = (scores[ng][:, None] > scores[~ng]).mean()
    return float(above + 0.5 * (scores[ng][:, None] == scores[~ng]).mean())


def _bfloat16(bench, spec, weights, cpu: np.ndarray, ng: np.ndarray) -> dict[str, float]:
    """Return what scoring in bfloat16 would change, which the project therefore does not do."""
    _, table, images = bench.tables()
    model = build_model(spec)
    load_weights(model, weights)
    model.to(bench.device)
    cast = lambda: torch.autocast(bench.device.type, dtype=torch.bfloat16)  # noqa: E731
    out = outputs(model, open_pairs(spec, table, images), 16, bench.device, cast=cast)
    scores = model.score(out).numpy()
    cut = _threshold(cpu, ng, 1.0)
    return {"flips_if_bfloat16": int(((scores > cut) != (cpu > cut)).sum())}
