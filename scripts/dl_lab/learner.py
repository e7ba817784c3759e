"""A small network that really learns, in plain Python: two half moons, told apart.

It stands in a new project for the training to come, so that the record can be tried before there is
one. Replace it; keep :class:`record.Outcome`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Row = tuple[float, float, int]
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Settings:
    """What a training depends on, beside its seed."""

    rows: int = 480
    noise: float = 0.2  # standard deviation, in radii of a moon
    hidden: int = 12  # units; 0 = logistic regression
    epochs: int = 60
    batch_size: int = 16
    learning_rate: float = 0.3
    momentum: float = 0.5


def draw_rows(settings: Settings, seed: int) -> list[tuple[Row, str]]:
    """Return points of two interleaved half moons, each with its split.

    Split: a seeded shuffle, then half for training and a quarter each for validation and test.
    """
    dice = random.Random(seed)
    rows: list[Row] = []
    for i in range(settings.rows):
        label = i % 2
        angle = math.pi * dice.random()
        x, y = math.cos(angle), math.sin(angle)
        if label:
            x, y = 1.0 - x, 0.5 - y
        rows.append((x + dice.gauss(0, settings.noise), y + dice.gauss(0, settings.noise), label))
    dice.shuffle(rows)
    first, second = len(rows) // 2, 3 * len(rows) // 4
    return [(row, SPLITS[(i >= first) + (i >= second)]) for i, row in enumerate(rows)]


class Network:
    """Two inputs, tanh units, one logistic output: the probability of label 1."""

    def __init__(self, hidden: int, dice: random.Random) -> None:
        fan_in = max(hidden, 2)
        self.first = [[dice.gauss(0, 1) for _ in range(3)] for _ in range(hidden)]
        self.last = [dice.gauss(0, fan_in**-0.5) for _ in range((hidden or 2) + 1)]

    def _units(self, x: float, y: float) -> list[float]:
        if not self.first:
            return [x, y]
        return [math.tanh(a * x + b * y + c) for a, b, c in self.first]

    def probability(self, x: float, y: float) -> float:
        """Return the probability of label 1."""
        return self._output(self._units(x, y))

    def _output(self, units: Sequence[float]) -> float:
        total = sum(w * u for w, u in zip(self.last, units, strict=False)) + self.last[-1]
        return 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, total))))

    def gradient(self, rows: Sequence[Row]) -> tuple[list[list[float]], list[float]]:
        """Return the mean gradient of the cross-entropy by ``first`` and ``last``."""
        first = [[0.0, 0.0, 0.0] for _ in self.first]
        last = [0.0] * len(self.last)
        for x, y, label in rows:
            units = self._units(x, y)
            error = (self._output(units) - label) / len(rows)
            for i, unit in enumerate(units):
                last[i] += error * unit
            last[-1] += error
            for i, place in enumerate(first):
                back = error * self.last[i] * (1.0 - units[i] ** 2)
                place[0] += back * x
                place[1] += back * y
                place[2] += back
        return first, last

    def weights(self) -> dict[str, Any]:
        """Return copies of the weights, ready for JSON."""
        return {"first": [list(unit) for unit in self.first], "last": list(self.last)}


def judged(network: Network, rows: Sequence[Row]) -> tuple[float, int]:
    """Return the mean cross-entropy (lower is better) and how many rows are told right."""
    loss, right = 0.0, 0
    for x, y, label in rows:
        p = network.probability(x, y)
        loss -= math.log(max(p if label else 1.0 - p, 1e-12)) / len(rows)
        right += (p > 0.5) == bool(label)
    return loss, right


def train(
    rows: dict[str, list[Row]], settings: Settings, seed: int
) -> tuple[dict[str, Any], int, list[dict[str, float]]]:
    """Return the weights of the epoch with the lowest validation loss, that epoch, and the curve.

    Mini-batch gradient descent with momentum; epochs count from 1, the earlier one wins a tie.
    """
    dice = random.Random(seed)
    network = Network(settings.hidden, dice)
    flat = [*network.first, network.last]
    speed = [[0.0] * len(part) for part in flat]
    order = list(rows["train"])
    curve: list[dict[str, float]] = []
    best, best_epoch, best_loss = network.weights(), 0, math.inf
    for epoch in range(1, settings.epochs + 1):
        dice.shuffle(order)
        for start in range(0, len(order), settings.batch_size):
            first, last = network.gradient(order[start : start + settings.batch_size])
            for part, pace, slope in zip(flat, speed, [*first, last], strict=True):
                for i, step in enumerate(slope):
                    pace[i] = settings.momentum * pace[i] - settings.learning_rate * step
                    part[i] += pace[i]
        train_loss, _ = judged(network, rows["train"])
        loss, right = judged(network, rows["validation"])
        curve.append(
            {"epoch": epoch, "train_loss": train_loss, "val_loss": loss, "val_right": right}
        )
        if loss < best_loss:
            best, best_epoch, best_loss = network.weights(), epoch, loss
    return best, best_epoch, curve


def restored(weights: dict[str, Any]) -> Network:
    """Return the network that ``weights`` describe."""
    network = Network(0, random.Random(0))
    network.first = [list(unit) for unit in weights["first"]]
    network.last = list(weights["last"])
    return network
