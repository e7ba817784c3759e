"""Boards that go wrong for one known reason: it is named first; without one, nothing is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from planted_causes import PLANTED, Part, Ruler, copied, drawn, flagged, told

from deft.causes.catalogue import BY_ID, beyond_rows
from deft.causes.find import cells
from deft.causes.flags import Flags, Labelled

SEEDS = range(5)


@dataclass
class Set:
    """Clean parts, their facts and flags, the training parts, and what measures them."""

    parts: list[Part]
    ruler: Ruler
    training: Labelled
    kpi: Labelled
    flags: Flags


@pytest.fixture(scope="module")
def clean() -> Set:
    ruler, parts = Ruler(), drawn(240, 120, 2)
    training, kpi = ruler.labelled(drawn(90, 70, 1)), ruler.labelled(parts)
    return Set(parts, ruler, training, kpi, flagged(kpi, training))


def planted(clean: Set, *names: str) -> tuple[list[Part], Labelled, Flags]:
    parts = copied(clean.parts)
    for i, name in enumerate(names):
        PLANTED[name](parts, np.random.default_rng(5 + i))
    kpi = clean.ruler.labelled(parts)
    return parts, kpi, flagged(kpi, clean.training)


@pytest.mark.parametrize("recall", [0.95, 1.0])
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_cause_is_named_first(name: str, recall: float, clean: Set) -> None:
    parts, kpi, flags = planted(clean, name)
    for seed in SEEDS:
        found = told(parts, flags, kpi, seed, recall)
        first = found["causes"][0]
        assert first["id"] == name and first["p_corrected"] < 0.01, (seed, found["named"])
        assert found["named"] == [name], "and no other"


@pytest.mark.parametrize("recall", [0.95, 1.0])
def test_nothing_is_named_on_clean_boards(recall: float, clean: Set) -> None:
    named = [told(clean.parts, clean.flags, clean.kpi, seed, recall)["named"] for seed in range(20)]
    assert named == [[]] * 20


def test_a_board_that_only_scores_badly_is_named_by_itself(clean: Set) -> None:
    """Nothing can be measured on its pictures: that it is this board is all there is to say."""
    parts = copied(clean.parts)
    for part in parts:
        part.hard = part.board == "board3" and part.truth == "PASS"
    found = told(parts, clean.flags, clean.kpi, 0)
    assert found["named"] == ["boardname:board3"]


def test_what_rows_cannot_mend_is_told_apart(clean: Set) -> None:
    parts, kpi, flags = planted(clean, "label_doubt")
    found = told(parts, flags, kpi, 0)
    each = cells(found, flags.flags)
    wrong = np.array([part.label != part.truth for part in parts])
    beyond = np.array([beyond_rows(cell) for cell in each])
    assert beyond[wrong].mean() > 0.9 and beyond[~wrong].mean() < 0.01
    assert not beyond_rows("") and not beyond_rows("rim;unseen_type")
    assert beyond_rows("rim;label_doubt")
    assert set(flags.flags.columns) == set(BY_ID)
