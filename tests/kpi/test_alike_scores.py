"""A phase whose scores tell no part from another stops, in either engine."""

from __future__ import annotations

import pandas as pd
import pytest

from deft.core.errors import HardStop
from deft.kpi.evaluation import KINDS, evaluate_phase

FILES = [{"path": f"{kind}.pth", "val_loss": 0.1, "epoch": i} for i, kind in enumerate(KINDS)]
WEIGHTS = {"files": FILES, **{kind: f"{kind}.pth" for kind in KINDS}}


def phase(folder, **scores):
    for kind in KINDS:
        (folder / "inference" / kind).mkdir(parents=True)
        table = pd.DataFrame(
            {"input_path": "i", "golden_path": "g", "label": ["PASS", "bridge"] * 4,
             "object_name": [f"p{i}" for i in range(8)], "siamese_score": scores[kind]}
        )  # fmt: skip
        table.to_csv(folder / "inference" / kind / "inference.csv", index=False)
    return folder


def test_equal_scores_stop_the_phase(tmp_path):
    white = [0.4321] * 7 + [0.43210003]
    with pytest.raises(HardStop, match="all 8 KPI scores are alike") as stop:
        evaluate_phase(phase(tmp_path, best_val=white, latest=white), "baseline", 1.0, WEIGHTS)
    assert stop.value.code == "score_invalid" and "white" in stop.value.fix
    assert not (tmp_path / "metrics.json").exists()


def test_one_weight_file_that_tells_parts_apart_is_enough(tmp_path):
    """A training may collapse after its best epoch."""
    good = [0.1, 0.9] * 4
    metrics = evaluate_phase(
        phase(tmp_path, best_val=good, latest=[0.5] * 8), "baseline", 1.0, WEIGHTS
    )
    assert metrics["chosen"] == "best_val" and "all_alike" not in metrics["kinds"]["latest"]
