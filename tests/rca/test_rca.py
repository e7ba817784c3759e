"""Root-cause analysis: which labels are affected, and pictures that do not overwrite each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from stage_calls import rca

from deft.core.files import sha256_file
from deft.core.layout import BASELINE, Run
from deft.rca.analysis import Pictures, affected_labels, analyse
from deft.run.state import read_state, update_state
from deft.stages.context import Context
from deft.tables.changenet_table import write_table

LONG = "solder " * 60  # 420 bytes, more than a file name holds


def scored(root: Path, labels: dict[str, tuple[float, ...]]) -> pd.DataFrame:
    """Return an inference table (label -> scores) whose pictures lie below ``root``."""
    rows = []
    for label, scores in labels.items():
        for score in scores:
            name = f"C{len(rows)}@1"
            for folder in ("test", "golden"):
                (root / folder).mkdir(parents=True, exist_ok=True)
                grey = np.full((8, 8, 3), 10 * len(rows), np.uint8)
                Image.fromarray(grey).save(root / folder / f"{name}_Solder.png")
            rows.append((label, name, "test", "golden", score))
    return pd.DataFrame(
        rows, columns=["label", "object_name", "input_path", "golden_path", "siamese_score"]
    )


@pytest.mark.parametrize("labels", [("solder ball", "solder-ball"), (LONG + "a", LONG + "b")])
def test_pictures_of_like_or_long_labels_are_all_kept(tmp_path: Path, labels) -> None:
    table = scored(tmp_path, {"PASS": (0.1, 0.2), labels[0]: (0.8, 0.9), labels[1]: (0.7, 0.6)})
    out = tmp_path / "rca"
    analyse(table, 1.0, 50, Pictures(tmp_path, ["Solder"], ".png"), out)
    shown = sorted((out / "rca_images").iterdir())
    assert len(shown) == 6
    # Each shows its own part: the pictures are grey levels that tell parts apart.
    seen = {np.asarray(Image.open(path))[0, 0, 0] for path in shown}
    assert seen == {0, 10, 20, 30, 40, 50}
    report = (out / "RCA_Report.md").read_text()
    assert all(f"rca_images/{path.name}" in report for path in shown)
    assert {"PASS_01.png", "PASS_02.png"} <= {path.name for path in shown}


def counts(**labels: tuple[int, int]) -> dict:
    return {k: {"n_misclassified": n, "total": of} for k, (n, of) in labels.items()}


def test_affected_labels_by_missed_defects_then_false_alarms() -> None:
    assert affected_labels(counts(PASS=(0, 9), bridge=(0, 3))) == []
    found = affected_labels(
        counts(PASS=(90, 100), tilt=(1, 2), bridge=(3, 9), shift=(0, 5), missing=(3, 4))
    )
    assert found == ["bridge", "missing", "tilt", "PASS"]


def test_the_state_names_affected_labels_alone(tmp_path: Path) -> None:
    run = Run(tmp_path, "run_a")
    pictures = tmp_path / "kpi/images"
    folder = run.phase(BASELINE)
    scores = {"PASS": (0.1, 0.2), "bridge": (0.8,), "missing": (0.9,)}

    def targets(table: pd.DataFrame) -> list[str]:
        (folder / "metrics.json").parent.mkdir(parents=True, exist_ok=True)
        (folder / "metrics.json").write_text(json.dumps(phase_metrics()))
        write_table(table, folder / "inference/best_val/inference.csv")
        csv = folder / "inference/best_val/inference.csv"
        kinds = {"best_val": {"csv_sha256": sha256_file(csv), "rows": len(table)}}
        (folder / "inference/inference.json").write_text(json.dumps({"kinds": kinds}))
        context = Context(run)
        context.__dict__["spec"] = FakeSpec()
        rca(context, BASELINE, 1.0, 5)
        return read_state(run.dir)["iterations"][BASELINE]["rca_target_defects"]

    update_state(run.dir, lambda state: state.update(status="running"))
    assert targets(scored(pictures, scores)) == []
    assert targets(scored(pictures, {**scores, "PASS": (0.1, 0.85)})) == ["PASS"]


def phase_metrics() -> dict[str, Any]:
    """Return a phase's ``metrics.json``, of which the step reads which weights were chosen."""
    counts = {"tp": 2, "fp": 0, "tn": 2, "fn": 0}
    point = {"threshold": 0.5, **counts, "far_pct": 0.0, "recall_pct": 100.0}
    return {
        "phase": BASELINE,
        "chosen": "best_val",
        "weights": {"path": "model.pth", "sha256": "0" * 64},
        "kinds": {kind: {"recall_point": point} for kind in ("best_val", "latest")},
        "counts": {"rows": 4, "ng": 2, "pass": 2},
        "labels": {},
    }


class FakeSpec:
    """What the step asks of a spec."""

    lights = ("Solder",)

    class dataset:  # noqa: N801
        class classify:  # noqa: N801
            image_ext = ".png"
