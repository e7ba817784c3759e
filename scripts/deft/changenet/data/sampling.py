"""Which rows a training sees: TAO's weighted draws with replacement, from explicit generators."""

from __future__ import annotations

import numpy as np
import torch

from deft.changenet.data.pairs import PairData
from deft.errors import HardStop


def sampling_weights(labels: np.ndarray, fpratio: float) -> torch.Tensor:
    """Return the chance of each row to be drawn (not summing to 1): PASS 1, the rest alike.

    The rest gets ``PASS rows / other rows * fpratio``, in float32 like TAO's.
    """
    ng = labels > 0
    if ng.all() or not ng.any():
        raise ValueError("both classes are needed")
    weight = np.float32((~ng).sum() / ng.sum() * fpratio)
    return torch.from_numpy(np.where(ng, weight, np.float32(1)).astype(np.float32)).double()


def training_weights(data: PairData) -> torch.Tensor:
    """Return :func:`sampling_weights` of a training table, or stop when it cannot train."""
    good, bad = int((data.labels == 0).sum()), int((data.labels == 1).sum())
    if not good or not bad:
        found = "defective" if bad else "good"
        raise HardStop(
            "csv_invalid",
            f"the training table has only {found} parts ({len(data)} rows)",
            file=data.csv_path,
            fix="training needs both PASS rows and rows with a defect",
        )
    size = data.spec.dataset.classify.batch_size
    if size < 2:
        raise HardStop(
            "spec_invalid",
            "dataset.classify.batch_size 1 cannot train: batch norm needs two pairs",
            file=data.spec.source,
            fix="set dataset.classify.batch_size to 2 or more",
        )
    if len(data) < size:
        raise HardStop(
            "spec_invalid",
            f"dataset.classify.batch_size {size} is more than the {len(data)} training rows: "
            "there would be no training step",
            file=data.spec.source,
            fix=f"set dataset.classify.batch_size to {len(data)} or less",
        )
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
