"""Pairs of pictures as tensors, equal to TAO's loader, and the order in which training sees them.

A batch is a function of (rows, seed, epoch, place in the epoch) and of nothing else, so the number
of loader threads changes no number. Pictures travel as bytes, a quarter of their size as numbers,
and become numbers on the device that computes with them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd
import torch

from deft.changenet.data import augment
from deft.changenet.data.images import BICUBIC, BILINEAR, PictureCache, PictureError
from deft.changenet.spec import Spec
from deft.core.errors import HardStop
from deft.score_kit.resize import join_lights
from deft.tables.changenet_table import PASS, image_name, line_of, read_table
from deft.tables.coordinates import rooted_folder
from deft.tables.goldens import GoldenFolders

T = TypeVar("T")
R = TypeVar("R")
Rows = Sequence[int] | np.ndarray  # of a table, in the order wanted


class Batch(NamedTuple):
    """Pairs as the network takes them.

    ``test``: float32 (B, 3, H, W); ``golden``: the same, or (B, N, 3, H, W) with N goldens a pair;
    ``label``: float32 (B, 1), 1 = defective.
    """

    test: torch.Tensor
    golden: torch.Tensor
    label: torch.Tensor


class Pixels(NamedTuple):
    """Pairs as loaded: uint8 (B, H, W, 3), goldens (B, H, W, 3) or (B, N, H, W, 3)."""

    test: np.ndarray
    golden: np.ndarray
    label: np.ndarray


class PairData:
    """The pairs of one table.

    Parameters
    ----------
    spec: gives lights, size, joins, normalisation and augmentation.
    table: ChangeNet table as text (see :mod:`deft.tables.changenet_table`).
    images_dir: root of the table's picture paths.
    csv_path: the table's file, for messages.
    training: augment (when the spec's ``augment`` is on).
    seed: of the augmentations.
    levels: full scale of pictures deeper than 8 bits, see :func:`deft.tables.pictures.open_rgb`.
    workspace: inside which absolute paths of the table must lie; None takes them as they are.
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
        levels: int | None = None,
        workspace: str | Path | None = None,
    ) -> None:
        self.spec, self.table, self.levels = spec, table, levels
        self.images_dir, self.csv_path = Path(images_dir), csv_path
        self.cache = cache if cache is not None else PictureCache()
        self.config = spec.dataset.classify.augmentation_config
        self.augmented = training and self.config.augment
        self.seed = seed
        self.resample = BICUBIC if self.augmented else BILINEAR
        self.training = training
        ext, count = spec.dataset.classify.image_ext, spec.dataset.classify.num_golden
        root = None if workspace is None else Path(workspace)
        # A million rows name few folders; their files' paths are put together when they are read.
        self._names = table["object_name"].tolist()
        self._test, self._golden = (
            self._folders(column, root) for column in ("input_path", "golden_path")
        )
        self.folders = None
        if count > 1:
            self.folders = GoldenFolders(
                self.images_dir,
                [
                    str(folder) if cell.startswith("/") else cell
                    for cell, folder in zip(table["golden_path"], self._golden, strict=True)
                ],
                spec.lights,
                ext,
                count,
                csv_path,
            )
        # Exactly PASS is good; TAO compares the literal.
        self.labels = (table["label"].to_numpy() != PASS).astype(np.float32)

    def __len__(self) -> int:
        return len(self.table)

    def _folders(self, column: str, workspace: Path | None) -> list[Path]:
        """Return the folder that each row names."""
        known: dict[str, Path] = {}
        cells = self.table[column].tolist()
        for row, cell in enumerate(cells):
            if cell not in known:
                known[cell] = rooted_folder(
                    cell, self.images_dir, workspace, self.csv_path, line_of(row)
                )
        return [known[cell] for cell in cells]

    def _files(self, folders: list[Path], row: int) -> list[Path]:
        """Return a row's picture below its folder, one file a light."""
        ext, name = self.spec.dataset.classify.image_ext, self._names[row]
        return [folders[row] / image_name(name, light, ext) for light in self.spec.lights]

    def test_files(self, row: int) -> list[Path]:
        """Return the test picture's files, one a light."""
        return self._files(self._test, row)

    def golden_files(self, row: int, *, epoch: int = 0, place: int = 0) -> list[list[Path]]:
        """Return each golden's files, one a light; outside of training always the same ones."""
        if self.folders is None:
            return [self._files(self._golden, row)]  # one golden, of the same name
        return self.folders.choose(row, (self.seed, epoch, place) if self.training else None)

    def files(self) -> set[Path]:
        """Return every picture that a batch of this table may hold, each light's file."""
        found = {path for row in range(len(self)) for path in self.test_files(row)}
        if self.folders is not None:
            return found | self.folders.files()
        return found | {path for row in range(len(self)) for path in self.golden_files(row)[0]}

    def picture(
        self, files: Sequence[Path], row: int, change: augment.Draw | None = None
    ) -> np.ndarray:
        """Return one picture's lights joined, uint8 (H, W, 3); ``row`` is for messages."""
        size = self.spec.picture_size
        try:
            lights = [self.cache.get(path, size, self.resample, self.levels) for path in files]
        except PictureError as error:
            raise HardStop(
                "missing_input" if error.missing else "image_invalid",
                f"picture {error.path}: {error.reason}",
                file=self.csv_path,
                row=line_of(row),
                fix=error.fix or "restore the picture, or remove its row from the table",
            ) from None
        if change is not None:
            lights = [augment.apply(picture, change) for picture in lights]
        return join_lights(lights, self.spec.grid)

    def pixels(self, rows: Rows, *, epoch: int = 0, start: int = 0) -> Pixels:
        """Return ``rows`` as bytes; ``start`` is the place of the first in its epoch."""
        test, golden = [], []
        for place, row in enumerate(map(int, rows), start):
            change = self._draw(epoch, place)
            test.append(self.picture(self.test_files(row), row, change))
            chosen = self.golden_files(row, epoch=epoch, place=place)
            golden.append([self.picture(files, row, change) for files in chosen])
        goldens = np.stack([np.stack(pictures) for pictures in golden])
        label = self.labels[np.asarray(rows)][:, None]
        return Pixels(np.stack(test), goldens if self.folders else goldens[:, 0], label)

    def batch(
        self,
        rows: Rows,
        *,
        epoch: int = 0,
        start: int = 0,
        device: torch.device | None = None,
    ) -> Batch:
        """Return ``rows`` as tensors on ``device``; ``start``: see :meth:`pixels`."""
        return as_batch(self.spec, self.pixels(rows, epoch=epoch, start=start), device)

    def _draw(self, epoch: int, place: int) -> augment.Draw | None:
        if not self.augmented:
            return None
        return augment.draw(self.config, np.random.default_rng((self.seed, epoch, place)))


def as_batch(spec: Spec, pixels: Pixels, device: torch.device | None = None) -> Batch:
    """Turn loaded pairs into tensors on ``device`` (default: the CPU)."""
    return Batch(
        normalise(spec, pixels.test, device),
        normalise(spec, pixels.golden, device),
        _moved(torch.from_numpy(pixels.label), device),
    )


def normalise(
    spec: Spec, pictures: np.ndarray | torch.Tensor, device: torch.device | None = None
) -> torch.Tensor:
    """Turn uint8 (…, H, W, 3) into float32 (…, 3, H, W), normalised as the spec says.

    The bytes are moved to ``device`` first and computed with there; the CPU gives the same bits
    as TAO's loader.
    """
    config = spec.dataset.classify.augmentation_config
    if isinstance(pictures, np.ndarray):
        pictures = torch.from_numpy(pictures)
    # The permuted view is laid out channels-last, which convolutions prefer.
    tensor = _moved(pictures, device).movedim(-1, -3).float()
    # Divided by tensors: CUDA turns a division by a plain number into a rounded multiplication.
    full, mean, std = (
        _constant(tuple(values), tensor.device)
        for values in ([255.0], config.rgb_input_mean, config.rgb_input_std)
    )
    return tensor.div_(full).sub_(mean).div_(std)


@lru_cache(maxsize=64)
def _constant(values: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """Return ``values`` as float32 (C, 1, 1); kept, since each copy to a GPU waits for it."""
    with torch.inference_mode(False):  # one made for scoring must serve a training too
        return torch.tensor(values, dtype=torch.float32, device=device).view(-1, 1, 1)


def _moved(tensor: torch.Tensor, device: torch.device | None) -> torch.Tensor:
    if device is None or device.type == "cpu":
        return tensor
    if device.type == "cuda":
        # From pinned memory the copy is only queued: this thread goes on, and loads what follows.
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def open_pairs(
    spec: Spec,
    csv_path: str | Path,
    images_dir: str | Path,
    *,
    cache: PictureCache | None = None,
    training: bool = False,
    seed: int = 0,
    levels: int | None = None,
    workspace: str | Path | None = None,
) -> PairData:
    """Read a table and return its pairs; raises HardStop ``missing_input`` or ``csv_invalid``."""
    table = read_table(csv_path)
    if table.empty:
        raise HardStop("csv_invalid", "the table has no rows", file=csv_path)
    return PairData(
        spec,
        table,
        images_dir,
        csv_path=csv_path,
        cache=cache,
        training=training,
        seed=seed,
        levels=levels,
        workspace=workspace,
    )


def batches(
    data: PairData,
    order: Rows,
    size: int,
    *,
    epoch: int = 0,
    drop_last: bool = False,
    workers: int = 0,
    device: torch.device | None = None,
    part: tuple[int, int] = (0, 1),
    skip: int = 0,
) -> Iterator[Batch]:
    """Yield ``order`` in batches of ``size`` on ``device``, loaded ahead by ``workers`` threads.

    ``part`` = (rank, processes): of every so many batches this process yields one, so that the
    processes' batches together are the batch of one process with ``processes * size`` rows.
    ``skip``: so many of its first batches are not loaded; the others stay what they are.
    """
    rank, processes = part
    whole = size * processes
    stop = len(order) - len(order) % whole if drop_last else len(order)
    chunks = [(start, order[start : min(start + size, stop)]) for start in range(0, stop, size)]
    chunks = chunks[rank::processes][skip:]

    def load(chunk: tuple[int, Rows]) -> Pixels:
        start, rows = chunk
        return data.pixels(rows, epoch=epoch, start=start)

    for pixels in ahead(load, chunks, workers):
        yield as_batch(data.spec, pixels, device)


def ahead(load: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """Yield ``load(item)`` in order, done ahead by ``workers`` threads (0: in this one).

    At most ``workers`` + 1 results wait at a time, which bounds the memory.
    """
    if workers <= 0:
        yield from map(load, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(load, item))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:  # after a broken picture nothing more is loaded
                future.cancel()
