"""Pairs of pictures as tensors, equal to TAO's loader, and the order in which training sees them.

A batch is a function of (rows, seed, epoch, place in the epoch) and of nothing else, so the number
of loader threads changes no number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from deft.changenet import augment
from deft.changenet.images import BICUBIC, BILINEAR, PictureCache, PictureError
from deft.changenet.spec import Spec
from deft.errors import HardStop
from deft.tables import PASS, image_file, line_of, read_table


class Batch(NamedTuple):
    """``test`` and ``golden``: float32 (B, 3, H, W); ``label``: float32 (B, 1), 1 = defective."""

    test: torch.Tensor
    golden: torch.Tensor
    label: torch.Tensor


class PairData:
    """The pairs of one table.

    Parameters
    ----------
    spec: gives lights, size, joins, normalisation and augmentation.
    table: ChangeNet table as text (see :mod:`deft.tables`).
    images_dir: root of the table's picture paths.
    csv_path: the table's file, for messages.
    training: augment (when the spec's ``augment`` is on).
    seed: of the augmentations.
    """

    def __init__(
        self,
        spec: Spec,
        table: pd.DataFrame,
        images_dir: str | Path,
        *,
        csv_path: str | Path | None = None,
        cache: PictureCache | None = None,
        training: bool = False,
        seed: int = 0,
    ) -> None:
        self.spec, self.table = spec, table
        self.images_dir, self.csv_path = Path(images_dir), csv_path
        self.cache = cache if cache is not None else PictureCache()
        self.config = spec.dataset.classify.augmentation_config
        self.augmented = training and self.config.augment
        self.seed = seed
        self.resample = BICUBIC if self.augmented else BILINEAR
        ext = spec.dataset.classify.image_ext
        names = table["object_name"].tolist()
        self._files = [
            [
                [image_file(self.images_dir, folder, name, light, ext) for light in spec.lights]
                for folder, name in zip(table[column].tolist(), names, strict=True)
            ]
            for column in ("input_path", "golden_path")
        ]
        # Exactly PASS is good; TAO compares the literal.
        self.labels = (table["label"].to_numpy() != PASS).astype(np.float32)

    def __len__(self) -> int:
        return len(self.table)

    def pair(self, row: int, change: augment.Draw | None = None) -> list[np.ndarray]:
        """Return the joined test and golden pictures, uint8 (H, W, 3)."""
        return [self._joined(files[row], row, change) for files in self._files]

    def batch(self, rows: Sequence[int], *, epoch: int = 0, start: int = 0) -> Batch:
        """Return ``rows`` as tensors; ``start`` is the place of the first in its epoch."""
        changes = [self._draw(epoch, start + i) for i in range(len(rows))]
        pairs = [self.pair(int(r), c) for r, c in zip(rows, changes, strict=True)]
        test, golden = (normalise(self.spec, np.stack(side)) for side in zip(*pairs, strict=True))
        return Batch(test, golden, torch.from_numpy(self.labels[np.asarray(rows)])[:, None])

    def _draw(self, epoch: int, place: int) -> augment.Draw | None:
        if not self.augmented:
            return None
        return augment.draw(self.config, np.random.default_rng((self.seed, epoch, place)))

    def _joined(self, files: list[Path], row: int, change: augment.Draw | None) -> np.ndarray:
        size = self.spec.picture_size
        try:
            lights = [self.cache.get(path, size, self.resample) for path in files]
        except PictureError as error:
            raise HardStop(
                "missing_input" if error.missing else "image_invalid",
                f"picture {error.path}: {error.reason}",
                file=self.csv_path,
                row=line_of(row),
                fix="restore the picture, or remove its row from the table",
            ) from None
        if change is not None:
            lights = [augment.apply(picture, change) for picture in lights]
        return join_lights(lights, self.spec.grid)


def normalise(spec: Spec, pictures: np.ndarray) -> torch.Tensor:
    """Turn uint8 (B, H, W, 3) into float32 (B, 3, H, W), normalised as the spec says."""
    config = spec.dataset.classify.augmentation_config
    # The permuted view is laid out channels-last, which convolutions on a CPU prefer.
    tensor = torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div_(255)
    mean = torch.tensor(config.rgb_input_mean).view(1, 3, 1, 1)
    std = torch.tensor(config.rgb_input_std).view(1, 3, 1, 1)
    return tensor.sub_(mean).div_(std)


def join_lights(lights: list[np.ndarray], grid: tuple[int, int] | None) -> np.ndarray:
    """Join pictures (h, w, 3) downwards, or as ``grid`` = (x, y) tiles row by row."""
    if len(lights) == 1:
        return lights[0]
    if grid is None:
        return np.concatenate(lights, axis=0)
    x, y = grid
    rows = [np.concatenate(lights[i * x : (i + 1) * x], axis=1) for i in range(y)]
    return np.concatenate(rows, axis=0)


def open_pairs(
    spec: Spec,
    csv_path: str | Path,
    images_dir: str | Path,
    *,
    cache: PictureCache | None = None,
    training: bool = False,
    seed: int = 0,
) -> PairData:
    """Read a table and return its pairs; raises HardStop ``missing_input`` or ``csv_invalid``."""
    table = read_table(csv_path)
    if table.empty:
        raise HardStop("csv_invalid", "the table has no rows", file=csv_path)
    return PairData(
        spec, table, images_dir, csv_path=csv_path, cache=cache, training=training, seed=seed
    )


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


def batches(
    data: PairData,
    order: Sequence[int],
    size: int,
    *,
    epoch: int = 0,
    drop_last: bool = False,
    workers: int = 0,
) -> Iterator[Batch]:
    """Yield ``order`` in batches of ``size``, loaded ahead by ``workers`` threads."""
    stop = len(order) - len(order) % size if drop_last else len(order)
    chunks = [(start, order[start : min(start + size, stop)]) for start in range(0, stop, size)]
    if workers <= 0:
        for start, rows in chunks:
            yield data.batch(rows, epoch=epoch, start=start)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque = deque()
        try:
            for start, rows in chunks:
                waiting.append(pool.submit(data.batch, rows, epoch=epoch, start=start))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:  # after a broken picture nothing more is loaded
                future.cancel()
