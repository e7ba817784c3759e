"""The map of the embeddings: the right axes, share and kinds; a damaged file leaves it out."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from embedded import write_embeddings
from fake_run import FakeRun
from hypothesis import given
from hypothesis import strategies as st
from run_results import build_results

from deft.record import embedding_map
from deft.record.embedding_map import two_axes
from deft.report.check import check_html
from deft.report.render import render_report

pytestmark = pytest.mark.usefixtures("unsaved_charts")


@given(st.integers(2, 40), st.integers(1, 12), st.integers(0, 99))
def test_the_axes_are_those_of_a_singular_value_decomposition(n: int, d: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    places, share = two_axes(vectors)
    centred = vectors.astype(np.float64) - vectors.astype(np.float64).mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    assert share == pytest.approx((values[:2] ** 2).sum() / (values**2).sum(), rel=1e-6)
    for axis in range(min(2, n - 1, d)):
        wanted = left[:, axis] * values[axis]
        assert np.abs(places[:, axis]) == pytest.approx(np.abs(wanted), abs=1e-4)
    assert places.shape == (n, 2)


def test_equal_vectors_have_a_map_too() -> None:
    places, share = two_axes(np.ones((4, 3), np.float32))
    assert share == 1.0 and (places == 0).all()


def data_of(page: Path) -> dict[str, Any]:
    found = re.search(r'id="map-data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_points_have_their_kind_and_lead_to_their_file(finished: FakeRun) -> None:
    pool, weak, mined = write_embeddings(finished)
    page = render_report(finished.dir, finished.workspace)
    results = build_results(finished.dir, finished.workspace)
    assert check_html(page, results) == []
    assert 80 < results["map.variance_pct"] <= 100 and results["map.pool_rows"] == len(pool)
    data = data_of(page)
    by_kind: dict[str, set[str]] = {}
    for x, y, kind, _, folder, name, picture in data["points"]:
        assert 0 <= x <= 1 and 0 <= y <= 1
        path = (finished.dir / unquote(data["folders"][folder]) / name).resolve()
        by_kind.setdefault(data["kinds"][kind], set()).add(str(path))
        assert (picture is not None) == path.is_file()
    assert by_kind["mined"] == set(mined) and by_kind["weak"] == set(weak["filepath"])
    assert by_kind["pool"] == set(pool["filepath"]) - set(mined)


def test_of_a_large_pool_a_spread_is_drawn(
    finished: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_embeddings(finished)
    monkeypatch.setattr(embedding_map, "POINTS", {"pool": 20, "mined": 5, "weak": 7})
    kinds = [p[2] for p in data_of(render_report(finished.dir, finished.workspace))["points"]]
    assert [kinds.count(k) for k in range(3)] == [20, 5, 7]


@pytest.mark.parametrize(
    "name",
    ["synth_pool/source_embeddings.parquet", "iter2/mining_filter/target_embeddings.parquet"],
)
@pytest.mark.parametrize("damage", ["cut", "gone", "empty"])
def test_a_damaged_file_leaves_the_map_out(finished: FakeRun, name: str, damage: str) -> None:
    write_embeddings(finished)
    path = finished.dir / name
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:200] if damage == "cut" else b"")
    page = render_report(finished.dir, finished.workspace)
    assert 'id="map"' not in page.read_text()
    assert check_html(page, build_results(finished.dir, finished.workspace)) == []


def test_a_moved_workspace_finds_its_pictures(finished: FakeRun, tmp_path: Path) -> None:
    write_embeddings(finished)
    moved = FakeRun(tmp_path / "elsewhere")
    shutil.move(finished.workspace, moved.workspace)
    data = data_of(render_report(moved.dir, moved.workspace))
    assert any(p[6] for p in data["points"])
