"""A training's figures on its validation table: loss, rates at a fixed cut, FAR at a recall."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch

from deft.changenet.data.pairs import PairData
from deft.changenet.metrics import aoi_metrics
from deft.changenet.model import ChangeNet
from deft.changenet.precision import Precision
from deft.changenet.scoring import outputs
from deft.changenet.training.distributed import DistributedContext
from deft.changenet.training.selection import far_at_recall

TAO_MARGIN = 2.0  # of TAO's training and validation figures, whatever the spec's eval_margin


def cut_of(model: ChangeNet, eval_margin: float, *, upstream_compat: bool = False) -> float:
    """Return the score above which training figures count a part as defective.

    TAO's is 2.0 always, which no probability exceeds: every part counts as good. Here it is the
    spec's ``eval_margin``, and 0.5 where that is out of a probability's reach.
    """
    if upstream_compat:
        return TAO_MARGIN
    return 0.5 if model.learnable and eval_margin >= 1 else eval_margin


def rates(scores: np.ndarray, labels: np.ndarray, cut: float) -> dict[str, Any]:
    """Return ``far_pct`` and ``recall_pct`` (None without the class), ``acc`` and TAO's ``fpr``.

    All in percent. ``fpr`` divides false alarms by all rows, as TAO's status log does; ``far_pct``
    by good rows.
    """
    counts = aoi_metrics(scores, labels, cut)
    return {
        "far_pct": 100.0 * counts.alarms / counts.goods if counts.goods else None,
        "recall_pct": 100.0 * counts.found / counts.defects if counts.defects else None,
        "acc": 100.0 * ((counts.found + counts.passed) / len(labels)),
        "fpr": 100.0 * counts.alarms / len(labels),
    }


def validate(
    model: ChangeNet,
    data: PairData,
    device: torch.device,
    *,
    precision: Precision | None = None,
    upstream_compat: bool = False,
    min_recall: float = 1.0,
    processes: DistributedContext | None = None,
    after_batch: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Return ``val_loss``, rates at the fixed cut, and the FAR at the required recall.

    The loss is taken over the whole table, so that it does not depend on the batch size;
    ``upstream_compat`` averages the batches' losses instead, as TAO does. With several processes
    each runs its part of the rows, and every one gets the same result. ``after_batch`` is called
    equally often in each, and may raise in all of them.

    Keys: ``val_loss``, ``val_acc``, ``val_fpr`` (TAO's), ``val_far_pct``, ``val_recall_pct``,
    ``val_far_at_recall_pct`` (at ``min_recall``, 0 to 1, by the KPI's own rule).
    """
    processes = processes or DistributedContext()
    size = data.spec.dataset.classify.batch_size
    shares = [rows.tolist() for rows in np.array_split(np.arange(len(data)), processes.size)]
    own, part = shares[processes.rank], None
    if own:
        part = outputs(
            model,
            data,
            size,
            device,
            cast=precision.autocast if precision else nullcontext,
            rows=own,
            after_batch=after_batch,
        )
    if after_batch is not None:
        rounds = [math.ceil(len(rows) / size) for rows in shares]
        for _ in range(max(rounds) - rounds[processes.rank]):
            after_batch()
    out = torch.cat([found for found in processes.gathered(part) if found is not None])
    label = torch.from_numpy(data.labels)[:, None]
    chunk = size if upstream_compat else len(out)
    criterion = copy.deepcopy(model.criterion).cpu()
    with torch.no_grad():
        parts = [
            float(criterion(out[i : i + chunk], label[i : i + chunk])) * len(out[i : i + chunk])
            for i in range(0, len(out), chunk)
        ]
    scores = model.score(out).numpy()
    cut = cut_of(model, data.spec.model.classify.eval_margin, upstream_compat=upstream_compat)
    found = rates(scores, data.labels, cut)
    finite = np.isfinite(scores).all()
    found["far_at_recall_pct"] = (
        far_at_recall(scores, data.labels > 0, min_recall) if finite else None
    )
    return {"val_loss": sum(parts) / len(out)} | {f"val_{k}": v for k, v in found.items()}
