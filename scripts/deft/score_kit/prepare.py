"""From picture files to the network's input, as ``preprocessing.json`` says."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .errors import Stop
from .files import read_file
from .pictures import read_rgb
from .registration import KINDS, OFF, align
from .resize import join_lights, resize

FACTS = "preprocessing.json"
BELOW_ZERO = 1e-6  # of a threshold that rejects even a score of 0
CACHE_BYTES = 256 << 20  # of goldens that are kept


class FirstStage(NamedTuple):
    """A network of one view that decides the parts beyond ``margin`` from the threshold.

    ``margin``: of the score's logit, or of a distance itself.
    """

    file: str
    sha256: str
    margin: float


@dataclass(frozen=True)
class Facts:
    """What ``preprocessing.json`` says; sizes in pixels, ``threshold`` is a float32 value.

    ``register``: how a test picture is laid on its golden first, as those of training were.
    """

    file: str
    sha256: str
    lights: tuple[str, ...]
    ext: str
    height: int
    width: int
    grid: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    num_golden: int
    logits: bool
    threshold: float
    levels: int | None
    height_may_lead: bool
    first: FirstStage | None = None
    register: str = OFF

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(3, height, width) of a picture with its lights joined."""
        return 3, self.height * self.grid[1], self.width * self.grid[0]


def read_facts(folder: str | Path) -> Facts:
    """Read a hand-off's ``preprocessing.json``; raises Stop ``missing_input``, ``spec_invalid``."""
    path = Path(folder) / FACTS
    fix = "copy the hand-off's folder again, whole"
    try:
        found = facts_of(json.loads(read_file(path)))
    except FileNotFoundError:
        raise Stop("missing_input", "the hand-off has no such file", file=path, fix=fix) from None
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else f"cannot be read ({error})"
        raise Stop("spec_invalid", f"{FACTS} {what}", file=path, fix=fix) from None
    highest = 1.0 if found.logits else np.inf
    if not -BELOW_ZERO <= found.threshold <= highest:
        lie = "lie from 0 to 1" if found.logits else "are distances, 0 or more"
        raise Stop(
            "spec_invalid",
            f"threshold is {found.threshold:.9g}, and the scores of this network {lie}",
            file=path,
            fix="write a threshold as the report shows it; kpi_reference.json has the one that was "
            "handed off",
        )
    return found


def facts_of(told: dict[str, Any]) -> Facts:
    """Return the facts of ``preprocessing.json``'s content; KeyError, TypeError, ValueError."""
    found = Facts(
        file=str(told["file"]),
        sha256=str(told["sha256"]),
        lights=tuple(told["lights"]),
        ext=told["picture_name"].rpartition("}")[2],
        height=int(told["height_px"]),
        width=int(told["width_px"]),
        grid=(int(told["join_x"]), int(told["join_y"])),
        mean=tuple(map(float, told["mean"])),
        std=tuple(map(float, told["std"])),
        num_golden=int(told["num_golden"]),
        logits=told["output"] == "logits",
        threshold=float(np.float32(told["threshold"])),
        levels=told.get("picture_levels"),
        height_may_lead=bool(told["resize_height_may_lead"]),
        first=_first_stage(told.get("first_stage")),
        register=str(told.get("register", OFF)),
    )
    numbers = (*found.mean, *found.std, found.threshold)
    counts = (found.height, found.width, *found.grid, found.num_golden)
    if (len(found.mean), len(found.std)) != (3, 3) or not np.isfinite(numbers).all():
        raise ValueError("mean, std and threshold are seven numbers")
    if min(counts) < 1 or len(found.lights) != found.grid[0] * found.grid[1]:
        raise ValueError(f"{len(found.lights)} lights, joined {found.grid}, of size {counts[:2]}")
    if found.register not in KINDS or found.register != OFF and found.num_golden > 1:
        raise ValueError(f"register is {found.register!r}, num_golden {found.num_golden}")
    return found


def _first_stage(told: dict[str, Any] | None) -> FirstStage | None:
    if told is None:
        return None
    found = FirstStage(str(told["file"]), str(told["sha256"]), float(told["margin"]))
    if not (np.isfinite(found.margin) and found.margin >= 0):
        raise ValueError(f"first_stage has the margin {found.margin}")
    return found


class Preparer:
    """Pictures as the network takes them; goldens, which many rows share, are decoded once.

    Safe to share between threads.
    """

    def __init__(self, facts: Facts, cache_bytes: int = CACHE_BYTES) -> None:
        self.facts = facts
        every = np.arange(256, dtype=np.float32)[:, None]
        mean, std = (np.array(values, np.float32) for values in (facts.mean, facts.std))
        # A byte has 256 values: each is normalised once, by the same float32 steps.
        normal = (every / np.float32(255) - mean) / std
        self._normal = np.ascontiguousarray(normal.T)  # float32 (3, 256)
        self._room, self._kept = cache_bytes, OrderedDict[tuple[Path, ...], np.ndarray]()
        self._lock = threading.Lock()

    def pixels(self, files: Sequence[Path]) -> np.ndarray:
        """Return one picture's lights joined, uint8 (H, W, 3); raises :class:`PictureError`."""
        return self._joined(self._read(files))

    def test(self, files: Sequence[Path], golden: Sequence[Path]) -> np.ndarray:
        """Return :meth:`pixels` of a test picture, laid on its golden where the hand-off asks."""
        kind = self.facts.register
        if kind == OFF:
            return self.pixels(files)
        return self._joined(align(self._read(files), self._read(golden), kind).lights)

    def _read(self, files: Sequence[Path]) -> list[np.ndarray]:
        return [read_rgb(path, self.facts.levels) for path in files]

    def _joined(self, lights: list[np.ndarray]) -> np.ndarray:
        facts = self.facts
        size = (facts.height, facts.width)
        resized = [resize(one, *size, height_may_lead=facts.height_may_lead) for one in lights]
        return join_lights(resized, facts.grid)

    def golden(self, files: Sequence[Path]) -> np.ndarray:
        """Return :meth:`pixels` of a golden; it is kept while there is room."""
        name = tuple(files)
        with self._lock:
            found = self._kept.get(name)
            if found is not None:
                self._kept.move_to_end(name)
                return found
        found = self.pixels(files)
        with self._lock:
            if name not in self._kept:
                self._kept[name] = found
                self._room -= found.nbytes
            while self._room < 0 and self._kept:
                self._room += self._kept.popitem(last=False)[1].nbytes
        return found

    def normalise(self, pixels: np.ndarray, out: np.ndarray) -> None:
        """Write uint8 (H, W, 3) into ``out``, float32 (3, H, W)."""
        for channel in range(3):
            np.take(self._normal[channel], pixels[..., channel], out=out[channel], mode="clip")

    def write_pair(
        self, test: Sequence[Path], goldens: Sequence[Sequence[Path]], out: list[np.ndarray]
    ) -> None:
        """Write a row's pictures into ``out``: (3, H, W), and (3, H, W) or (N, 3, H, W)."""
        self.normalise(self.test(test, goldens[0]), out[0])
        places = out[1] if self.facts.num_golden > 1 else out[1][None]
        for files, place in zip(goldens, places, strict=True):
            self.normalise(self.golden(files), place)
