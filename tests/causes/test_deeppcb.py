"""The same faults planted into crops of real boards (DeepPCB); scores are drawn."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from planted_causes import BOARDS, PLANTED, Part, Ruler, copied, flagged, told

from deft.importers.deeppcb import import_deeppcb
from deft.importers.deeppcb_settings import Settings
from deft.tables.changenet_table import PASS, read_table
from deft.tables.differing import read_grey

KNOWN = ("open", "short", "mousebite", PASS)  # what the importer's base set has
ROOT = Path(os.environ.get("DEEPPCB_ROOT", "absent"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / "PCBData").is_dir(), reason="DEEPPCB_ROOT is not set"),
]


def crops(workspace: Path, table: str) -> list[Part]:
    """The rows of a table as parts, dealt to boards in turn: groups differ by themselves."""
    rows, images = read_table(workspace / table), workspace / "kpi/images"
    found = []
    for i, row in enumerate(rows.itertuples()):
        golden, test = (
            read_grey(images / folder / f"{row.object_name}_WhiteLight.png")
            for folder in (row.golden_path, row.input_path)
        )
        found.append(Part(golden, test, row.label, row.label, f"board{i % BOARDS}"))
    return found


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ruler, list[Part], list[Part]]:
    """What measures parts, and those of the training and of the KPI table."""
    out = tmp_path_factory.mktemp("deeppcb") / "w"
    import_deeppcb(ROOT, out, Settings(images_per_group=12, pass_per_image=14, base_rows=160))
    return Ruler(), crops(out, "train/base/training_set.csv"), crops(out, "kpi/testing_set.csv")


def unseen(parts: list[Part], others: list[Part], rng: np.random.Generator) -> None:
    """Real pin-holes, which the base set does not know, in the place of some defects."""
    bad = [part for part in parts if part.truth != PASS]
    for part, other in zip(rng.permutation(np.array(bad, object))[:16], others, strict=False):
        part.test, part.golden = other.test, other.golden
        part.truth = part.label = other.label
        part.hard = True


@pytest.mark.parametrize("name", ["", *PLANTED])
def test_planted_causes_are_named_first_and_none_on_clean_crops(name: str, imported) -> None:
    ruler, base, kpi = imported
    training = ruler.labelled(base)
    parts = copied([part for part in kpi if part.truth in KNOWN])
    rng = np.random.default_rng(5)
    if name == "unseen_type":
        unseen(parts, [part for part in kpi if part.truth == "pin-hole"], rng)
    elif name:
        PLANTED[name](parts, rng)
    facts = ruler.labelled(parts)
    flags = flagged(facts, training)
    for seed in range(5 if name else 20):
        found = told(parts, flags, facts, seed)
        if not name:
            assert found["named"] == [], seed
            continue
        first = found["causes"][0]
        assert first["id"] == name and first["p_corrected"] < 0.01, (seed, found["named"])
