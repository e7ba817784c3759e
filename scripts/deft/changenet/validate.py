"""Running a network over a table without learning: outputs, losses, rates at a fixed cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from deft.changenet.data import PairData, batches
from deft.changenet.model import ChangeNet


def outputs(
    model: ChangeNet, data: PairData, batch_size: int, device: torch.device, *, bfloat16: bool
) -> torch.Tensor:
    """Return the network's output for every row, float32 on the CPU, in the table's order."""
    model.eval()
    workers = data.spec.dataset.classify.workers
    found = []
    with torch.inference_mode():
        for batch in batches(data, range(len(data)), batch_size, workers=workers):
            with autocast(device, bfloat16):
                out = model(batch.test.to(device), batch.golden.to(device))
            found.append(out.float().cpu())
    return torch.cat(found)


def autocast(device: torch.device, bfloat16: bool) -> torch.autocast:
    """Return bfloat16 autocasting where it is asked for and pays (CUDA)."""
    on = bfloat16 and device.type == "cuda"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=on)


def cut_of(model: ChangeNet, eval_margin: float) -> float:
    """Return the score above which curves count a part as defective.

    TAO's margin, except where no score can exceed it (a probability against the default 2.0).
    """
    return 0.5 if model.learnable and eval_margin >= 1 else eval_margin


def rates(scores: np.ndarray, labels: np.ndarray, cut: float) -> dict[str, Any]:
    """Return ``far_pct`` and ``recall_pct`` (None without the class), ``acc`` and TAO's ``fpr``.

    ``fpr`` divides false alarms by all rows, as TAO's status log does; ``far_pct`` by good rows.
    """
    rejected, bad = scores > np.float32(cut), labels > 0
    good_rows, bad_rows = int((~bad).sum()), int(bad.sum())
    alarms, caught = int((rejected & ~bad).sum()), int((rejected & bad).sum())
    return {
        "far_pct": 100.0 * alarms / good_rows if good_rows else None,
        "recall_pct": 100.0 * caught / bad_rows if bad_rows else None,
        "acc": 100.0 * float((rejected == bad).mean()),
        "fpr": 100.0 * alarms / len(labels),
    }


def validate(
    model: ChangeNet,
    data: PairData,
    device: torch.device,
    *,
    bfloat16: bool = False,
    upstream_compat: bool = False,
) -> dict[str, Any]:
    """Return ``val_loss`` and rates.

    The loss is taken over the whole table, so that it does not depend on the batch size;
    ``upstream_compat`` averages the batches' losses instead, as TAO does.
    """
    size = data.spec.dataset.classify.batch_size
    out = outputs(model, data, size, device, bfloat16=bfloat16)
    label = torch.from_numpy(data.labels)[:, None]
    chunk = size if upstream_compat else len(out)
    criterion = model.criterion.to("cpu")
    with torch.no_grad():
        parts = [
            float(criterion(out[i : i + chunk], label[i : i + chunk])) * len(out[i : i + chunk])
            for i in range(0, len(out), chunk)
        ]
    model.criterion.to(device)
    found = rates(
        model.score(out).numpy(), data.labels, cut_of(model, data.spec.model.classify.eval_margin)
    )
    return {"val_loss": sum(parts) / len(out)} | {f"val_{k}": v for k, v in found.items()}
