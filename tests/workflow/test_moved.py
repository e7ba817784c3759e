"""A finished run that is moved: nothing is trained again, and the hand-off speaks of its place."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from workflow_tools import (
    RUN,
    as_documented,
    changes,
    copy_of,
    load,
    plan,
    snakemake,
    state,
    succeed,
    tree,
)

pytestmark = [pytest.mark.workflow, pytest.mark.long]

HERE = f"results/{RUN}"


def test_a_moved_run_is_finished(finished: Path, tmp_path: Path) -> None:
    copy = copy_of(finished, tmp_path / "another place – ü")
    assert plan(copy) == {"finish": 1}
    before = tree(copy)
    succeed(snakemake(copy))
    assert plan(copy) == {}
    changed = changes(before, tree(copy))
    assert not [name for name in changed if name.endswith((".pth", "metrics.json", ".parquet"))]
    for name in ("best_model.json", "deft_state.json"):
        text = json.dumps({**load(copy, name), "native": None}, ensure_ascii=False)
        assert str(finished) not in text and str(copy) in text
    assert state(copy)["native"]["moved_from"] == [str(finished)]
    back = tmp_path / "back"
    shutil.move(copy, back)
    assert plan(back) == {"finish": 1}


def test_a_damaged_hand_off_stops_keeps_the_earlier_one_and_is_mended_as_told(
    finished: Path, tmp_path: Path
) -> None:
    """Seen: `finish` accepted a cut model.onnx."""
    copy = copy_of(finished, tmp_path / "copy")
    onnx = copy / HERE / "best_model/model.onnx"
    onnx.write_bytes(onnx.read_bytes()[:1000])
    before = tree(copy)
    done = snakemake(copy)
    assert done.returncode == 1
    assert "model.onnx is not the file that export.json speaks of" in done.stdout
    told = f"snakemake {HERE}/best_model/export.json -R export_best"
    assert told in as_documented(done.stdout)
    changed = changes(before, tree(copy))
    handed = ("best_model", "artifacts/", f"{HERE}/best_model")
    assert not [name for name in changed if name.startswith(handed) or "best_model" in name]
    onnx.unlink()
    again = ["-R", "export_best"]
    assert plan(copy, f"{HERE}/best_model/export.json", args=again)["export_best"] == 1


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("iter1/dataset/train_combined_iter1.csv", "assemble"),
        ("iter1/mining_filter/mining_pool.csv", "mine"),
        ("baseline/inference/best_val/inference.csv", "infer"),
        ("baseline/rca_results/a/kpi_gaps.parquet", "rca"),
        ("iter1/routing_results/a/mining_gaps.parquet", "route"),
        ("synth_pool/source_pool.parquet", "stage_pool"),
    ],
)
@pytest.mark.slow
def test_a_deleted_table_is_made_again_by_the_rule_that_the_stop_names(
    finished: Path, tmp_path: Path, name: str, rule: str
) -> None:
    copy = copy_of(finished, tmp_path / "copy")
    (copy / HERE / name).unlink()
    assert plan(copy, f"{HERE}/{name}") == {rule: 1}
