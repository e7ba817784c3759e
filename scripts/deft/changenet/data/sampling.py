"""Which rows a training sees: TAO's weighted draws with replacement, from explicit generators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from deft.changenet.data.pairs import PairData
from deft.changenet.spec import Spec
from deft.core.errors import HardStop


def sampling_weights(labels: np.ndarray, fpratio: float) -> torch.Tensor:
    """Return the chance of each row to be drawn (not summing to 1): PASS 1, the rest alike.

    The rest gets ``PASS rows / other rows * fpratio``, in float32 like TAO's.
    """
    ng = labels > 0
    if ng.all() or not ng.any():
        raise ValueError("both classes are needed")
    weight = np.float32((~ng).sum() / ng.sum() * fpratio)
    return torch.from_numpy(np.where(ng, weight, np.float32(1)).astype(np.float32)).double()


def check_trainable(
    labels: np.ndarray, spec: Spec, csv_path: str | Path | None, processes: int = 1
) -> None:
    """Raise ``csv_invalid`` or ``spec_invalid`` when a table cannot train.

    ``labels``: (n,), above 0 = defective. It must have both kinds, and rows for a batch of each of
    the ``processes``, since an incomplete batch is left out.
    """
    bad = int((labels > 0).sum())
    if not bad or bad == len(labels):
        found = "defective" if bad else "good"
        raise HardStop(
            "csv_invalid",
            f"the training table has only {found} parts ({len(labels)} rows)",
            file=csv_path,
            fix="training needs both PASS rows and rows with a defect",
        )
    size = spec.dataset.classify.batch_size
    if size < 2:
        raise HardStop(
            "spec_invalid",
            "dataset.classify.batch_size 1 cannot train: batch norm needs two pairs",
            file=spec.source,
            fix="set dataset.classify.batch_size to 2 or more",
        )
    if len(labels) < size * processes:
        of = f" on each of {processes} processes" if processes > 1 else ""
        raise HardStop(
            "spec_invalid",
            f"dataset.classify.batch_size {size}{of} is more than the {len(labels)} training "
            "rows: there would be no training step",
            file=spec.source,
            fix=f"set dataset.classify.batch_size to {len(labels) // processes} or less",
        )


def training_weights(data: PairData, processes: int = 1) -> torch.Tensor:
    """Return :func:`sampling_weights` of a training table, or stop when it cannot train."""
    check_trainable(data.labels, data.spec, data.csv_path, processes)
    return sampling_weights(data.labels, data.spec.dataset.classify.fpratio_sampling)


def draw_epoch(
    weights: torch.Tensor, generator: torch.Generator, draws: int | None = None
) -> np.ndarray:
    """Draw ``draws`` rows with replacement, by default as many as there are."""
    return torch.multinomial(weights, draws or len(weights), True, generator=generator).numpy()


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """Return the generator of one epoch's order; epochs and seeds do not share streams."""
    state = np.random.SeedSequence((seed, epoch)).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 31 | int(state[1]) >> 1)
