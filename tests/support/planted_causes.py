"""Drawn boards whose parts go wrong for one known reason, and scores that suffer from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import pandas as pd

from deft.causes.facts import KEY, SIGNATURE, Parts, of_parts
from deft.causes.find import find_causes
from deft.causes.flags import Flags, Labelled, raise_flags
from deft.causes.measure import NUMBERS, measure
from deft.tables.differing import SIDE_PX

BOARDS = 12
TYPES = ("bridge", "missing", "spur")  # training knows the first two


@dataclass
class Part:
    """One drawn part; ``hard`` = its score suffers."""

    golden: np.ndarray
    test: np.ndarray
    truth: str
    label: str
    board: str
    hard: bool = False


def golden_picture(rng: np.random.Generator) -> np.ndarray:
    """Pads and tracks on a board, grey."""
    out = np.full((SIDE_PX, SIDE_PX), 70, np.uint8)
    for _ in range(9):
        x, y = rng.integers(0, SIDE_PX, 2).tolist()
        w, h = rng.integers(8, 30, 2).tolist()
        cv2.rectangle(out, (x, y), (x + w, y + h), int(rng.integers(110, 230)), -1)
    return cv2.GaussianBlur(out, (0, 0), 0.8)


def photographed(golden: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same part with noise, a little other light, and up to half a pixel off."""
    move = np.array([[1, 0, rng.uniform(-0.5, 0.5)], [0, 1, rng.uniform(-0.5, 0.5)]])
    seen = cv2.warpAffine(golden, move, golden.shape[::-1], borderMode=cv2.BORDER_REFLECT)
    lit = seen * rng.uniform(0.96, 1.04) + rng.normal(0, 2.5, golden.shape)
    return np.clip(lit, 0, 255).astype(np.uint8)


def defect(picture: np.ndarray, kind: str, at: tuple[int, int], rng: np.random.Generator) -> None:
    """Draw a defect into a picture, round ``at`` (x, y)."""
    radius = int(rng.integers(5, 9))
    tone = {"bridge": 255, "missing": 5, "spur": 250}.get(kind)
    if tone is None:  # a type of real boards: of the other tone than there is
        tone = 255 if picture[at[::-1]] < 128 else 0
    if kind == "spur":
        end = (at[0] + radius, at[1] + radius)
        cv2.line(picture, (at[0] - radius, at[1] - radius), end, tone, 5)
    else:
        cv2.circle(picture, at, radius, tone, -1)


def drawn(good: int, bad: int, seed: int, kinds: tuple[str, ...] = TYPES[:2]) -> list[Part]:
    """Good parts, then defective ones, dealt to the boards in turn."""
    rng = np.random.default_rng(seed)
    parts = []
    for i in range(good + bad):
        golden = golden_picture(rng)
        test = photographed(golden, rng)
        truth = "PASS" if i < good else kinds[i % len(kinds)]
        if truth != "PASS":
            at = rng.integers(24, SIDE_PX - 24, 2)
            defect(test, truth, (int(at[0]), int(at[1])), rng)
        parts.append(Part(golden, test, truth, truth, f"board{i % BOARDS}"))
    return parts


def shifted_board(parts: list[Part], rng: np.random.Generator) -> None:
    """One board was photographed six pixels off."""
    for part in parts:
        if part.board == "board3":
            move = np.array([[1.0, 0, 5], [0, 1, -3]])
            part.test = cv2.warpAffine(
                part.test, move, part.test.shape, borderMode=cv2.BORDER_REFLECT
            )
            part.hard = part.truth == "PASS"


def wrong_golden(parts: list[Part], rng: np.random.Generator) -> None:
    """Good parts with the golden picture of another."""
    good = [part for part in parts if part.truth == "PASS"]
    others = [part.golden for part in good]
    for i in rng.choice(len(good), 20, replace=False).tolist():
        good[i].golden, good[i].hard = others[(i + 7) % len(good)], True


def wrong_labels(parts: list[Part], rng: np.random.Generator) -> None:
    """Defects called good, and good parts called defective; the scores are of the truth."""
    bad = [part for part in parts if part.truth != "PASS"]
    good = [part for part in parts if part.truth == "PASS"]
    for i in rng.choice(len(bad), 12, replace=False).tolist():
        bad[i].label = "PASS"
    for i in rng.choice(len(good), 12, replace=False).tolist():
        good[i].label = bad[0].truth


def unseen_type(parts: list[Part], rng: np.random.Generator) -> None:
    """A type of defect that training does not know."""
    bad = [part for part in parts if part.truth != "PASS"]
    for i in rng.choice(len(bad), 20, replace=False).tolist():
        part = bad[i]
        part.test = photographed(part.golden, rng)
        at = rng.integers(24, SIDE_PX - 24, 2)
        defect(part.test, TYPES[2], (int(at[0]), int(at[1])), rng)
        part.truth = part.label = TYPES[2]
        part.hard = True


def rim_defects(parts: list[Part], rng: np.random.Generator) -> None:
    """Defects at the rim of the picture."""
    bad = [part for part in parts if part.truth != "PASS"]
    for i in rng.choice(len(bad), 20, replace=False).tolist():
        part = bad[i]
        part.test = photographed(part.golden, rng)
        at = [int(rng.integers(10, SIDE_PX - 10)), int(rng.choice([5, SIDE_PX - 6]))]
        defect(part.test, part.truth, tuple(rng.permutation(at).tolist()), rng)
        part.hard = True


PLANTED: dict[str, Callable[[list[Part], np.random.Generator], None]] = {
    "registration": shifted_board,
    "wrong_golden": wrong_golden,
    "label_doubt": wrong_labels,
    "unseen_type": unseen_type,
    "rim": rim_defects,
}


def copied(parts: list[Part]) -> list[Part]:
    """Parts that may be spoiled without touching these."""
    return [replace(part) for part in parts]


class Ruler:
    """Measures parts, each pair of pictures once."""

    def __init__(self) -> None:
        self.known: dict[tuple[int, int], object] = {}
        self.kept: list[np.ndarray] = []  # so that no other picture gets the same id

    def labelled(self, parts: list[Part]) -> Labelled:
        """The parts' facts, with the labels that they are called by."""
        names = [(f"t{i}", f"g{i}", str(i)) for i in range(len(parts))]
        rows = pd.DataFrame(names, columns=list(KEY[:3]))
        facts = rows.assign(light="L")
        each = []
        for part in parts:
            key = id(part.test), id(part.golden)
            if key not in self.known:
                self.kept += [part.test, part.golden]
                self.known[key] = measure(part.test, part.golden)
            each.append(self.known[key])
        for name in NUMBERS:
            facts[name] = [getattr(one, name) for one in each]
        facts[SIGNATURE] = [one.signature for one in each]
        labels = np.array([part.label for part in parts])
        found: Parts = of_parts(rows, facts)
        return Labelled(found, labels, labels != "PASS")


def scored(parts: list[Part], seed: int) -> np.ndarray:
    """Scores of a fair network: hard parts are drawn towards the other side."""
    rng = np.random.default_rng(seed)
    bad = np.array([part.truth != "PASS" for part in parts])
    hard = np.array([part.hard for part in parts])
    middle = np.where(bad, 2.5, -2.5) - np.where(hard, np.where(bad, 3.0, -3.0), 0)
    return rng.normal(middle, 1.0)


def told(parts: list[Part], flags: Flags, kpi: Labelled, seed: int, recall: float = 0.95) -> dict:
    """What is found at the threshold that catches ``recall`` of the defects."""
    scores = scored(parts, seed)
    threshold = float(np.sort(scores[kpi.ng])[int((1 - recall) * kpi.ng.sum())]) - 1e-6
    groups = pd.DataFrame({"boardname": [part.board for part in parts]})
    return find_causes(scores, kpi.ng, threshold, flags.flags, groups)


def flagged(kpi: Labelled, training: Labelled) -> Flags:
    """The causes that hold of each part."""
    return raise_flags(kpi, training, set(training.labels.tolist()))
