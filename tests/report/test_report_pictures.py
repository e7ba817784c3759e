"""Thumbnails and charts."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from deft.report import charts
from deft.report.thumbs import Thumbnails


def decoded(address: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))


@pytest.mark.parametrize("size", [(1000, 300), (40, 40), (300, 1000)])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "I;16"])
def test_thumbnails_are_small_jpegs(tmp_path: Path, size: tuple[int, int], mode: str) -> None:
    Image.new(mode, size).save(tmp_path / "p.png")
    address = Thumbnails(edge_px=256, levels=65535)(tmp_path / "p.png")
    assert address and address.startswith("data:image/jpeg;base64,")
    assert max(decoded(address).size) == min(256, max(size))


def test_unreadable_pictures_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "p.jpg").write_bytes(b"no picture")
    thumbs = Thumbnails()
    assert thumbs(tmp_path / "p.jpg") is None
    assert thumbs(tmp_path / "absent.jpg") is None
    assert thumbs(None) is None


def test_the_budget_holds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    thumbs = Thumbnails(budget_bytes=60_000)
    made = []
    for i in range(8):
        path = tmp_path / f"{i}.png"
        Image.fromarray(rng.integers(0, 255, (160, 160, 3), dtype=np.uint8)).save(path)
        made.append(thumbs(path))
    assert any(made) and not all(made)
    assert sum(len(m) for m in made if m) <= 60_000 + 8 * len("data:image/jpeg;base64,")


def test_too_big_thumbnails_are_refused() -> None:
    with pytest.raises(ValueError, match="edge_px"):
        Thumbnails(edge_px=257)


def drawings() -> dict[str, str]:
    rng = np.random.default_rng(1)
    scores = pd.DataFrame({"siamese_score": rng.random(50), "label": ["PASS", "bridge"] * 25})
    sweep = pd.DataFrame({"far": np.linspace(1, 0, 9), "recall": np.linspace(1, 0.4, 9)})
    curve = pd.DataFrame({"epoch": [0, 1], "train_loss": [1.0, 0.5], "val_loss": [1.1, 0.7]})
    return {
        "far": charts.far_by_phase(["baseline", "iter1"], [12.0, 0.0], [15.0, None], 0.1),
        "growth": charts.training_growth(["baseline", "iter1"], [10, 14], [0, 3]),
        "scores": charts.score_distribution(scores, 0.4, "iter1"),
        "curve": charts.recall_far([("iter1", sweep), ("baseline", sweep)], 0.1),
        "loss": charts.training_curves(curve, curve, "iter1") or "",
    }


def test_charts_are_deterministic_and_follow_the_page() -> None:
    first, second = drawings(), drawings()
    assert first == second
    for name, svg in first.items():
        assert svg.startswith('<svg role="img" aria-label='), name
        assert "var(--" in svg
        assert "dc:date" not in svg and "DejaVu" not in svg
        assert not any(colour in svg for colour in charts.CSS_COLOURS)
        ids = re.findall(r'\bid="([^"]+)"', svg)
        assert len(ids) == len(set(ids))


def test_axes_have_names_and_units() -> None:
    svg = drawings()
    assert "[%]" in svg["far"] and "[count]" in svg["growth"]
    assert "1 = defective" in svg["scores"]


@pytest.mark.parametrize("scores", [[0.5, 0.5], [-3.0, 8.0], [0.0, 0.0]])
def test_odd_scores_are_drawn(scores: list[float]) -> None:
    table = pd.DataFrame({"siamese_score": scores, "label": ["PASS", "bridge"]})
    assert "<svg" in charts.score_distribution(table, None, "x")


def test_nothing_to_draw_is_none() -> None:
    assert charts.training_curves(pd.DataFrame(), pd.DataFrame(), "x") is None
