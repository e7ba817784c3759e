"""Real boards: torch and the one graph decide every crop alike, whatever the views."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from deft.changenet.data.pairs import open_pairs
from deft.changenet.infer import score_views
from deft.changenet.model import build_model
from deft.changenet.onnx.export import export_network
from deft.changenet.onnx.parity import compare
from deft.changenet.onnx.scorer import Scorer, score_pairs
from deft.changenet.spec import load_spec
from deft.changenet.weights import save_weights
from deft.core import layout
from deft.importers.deeppcb import import_deeppcb
from deft.importers.deeppcb_settings import Settings
from deft.kpi.handed_off import threshold_to_set
from deft.tables.changenet_table import read_table, write_table

CROPS = 500

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("DEEPPCB_ROOT" not in os.environ, reason="DEEPPCB_ROOT is not set"),
]


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """Return the workspace with 500 KPI crops, its spec, a network and its file of weights."""
    root = tmp_path_factory.mktemp("deeppcb") / "w"
    # Of two groups of boards: somewhat more than these crops.
    import_deeppcb(
        os.environ["DEEPPCB_ROOT"], root, Settings(root="-", base_rows=24, images_per_group=18)
    )
    table = root / layout.KPI_TABLE
    write_table(read_table(table).head(CROPS), table)
    spec = load_spec(root / layout.SPEC)
    torch.manual_seed(3)
    model = build_model(spec).eval()
    save_weights(root / "m.pth", model, epoch=0, step=1)
    return root, spec, model


@pytest.mark.parametrize("views", ["turns", "dihedral"])
def test_no_decision_flips(crops, tmp_path: Path, views: str):
    root, spec, model = crops
    table, images = root / layout.KPI_TABLE, layout.image_root(root)
    found, rows = score_views(spec, root / "m.pth", table, images, views=views)
    scores = found[views]
    assert len(rows) == CROPS and len(np.unique(scores)) > CROPS / 2
    export_network(model, spec, tmp_path / "m.onnx", views=views)
    by_onnx = score_pairs(Scorer(tmp_path / "m.onnx"), open_pairs(spec, table, images), 32)
    # Drawn weights crowd all scores together: there is no harder place than their middle.
    cut = threshold_to_set(scores, float(np.median(scores)))
    told = compare(scores, by_onnx, cut)
    assert told["pairs"] == CROPS and told["flips"] == 0, told
