"""Root-cause analysis: which labels are affected, and pictures that do not overwrite each other."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from stage_calls import rca

from deft.core.files import sha256_file
from deft.core.layout import BASELINE, Run
from deft.rca.analysis import affected_labels, analyse
from deft.rca.spot_check import Pictures
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


def section(report: str, heading: str) -> str:
    found = re.search(rf"^## \d\. {re.escape(heading)}\n(.*?)(?=^## |\Z)", report, re.M | re.S)
    assert found, heading
    return found[1]


def analysed(tmp_path: Path, labels: dict[str, tuple[float, ...]], top_k: int = 50) -> str:
    table = scored(tmp_path, labels)
    analyse(table, 1.0, top_k, Pictures(tmp_path, ["Solder"], ".png"), tmp_path / "rca")
    return (tmp_path / "rca/RCA_Report.md").read_text()


def test_the_spot_check_shows_the_weakest_whatever_their_label(tmp_path: Path) -> None:
    """Seen: the first ten in alphabetical order, without the defect that sets the threshold."""
    good = (0.11, 0.95, 0.13, 0.91, 0.15, 0.93, 0.17)
    many = {f"a{i}": (0.9, 0.8, 0.7) for i in range(5)}
    report = analysed(tmp_path, {"PASS": good, **many, "zigzag": (0.2, 0.99), "yaw": (0.3,)}, 2)
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in section(report, "Visual Spot Check").splitlines()
        if line.startswith("| `")
    ]
    assert [row[2] for row in rows] == [
        *("0.9500", "0.9300", "0.9100", "0.1700", "0.1500"),
        *("0.2000", "0.3000", "0.7000", "0.7000", "0.7000"),
    ]
    assert [row[0] for row in rows][5:7] == ["`zigzag`", "`yaw`"]
    for row in rows:  # the picture is that of the part: its grey level is ten times its number
        name = re.fullmatch(r"!\[\]\((.*)\)", row[4])[1]
        number = int(re.search(r"C(\d+)@1", row[1])[1])
        shown = np.asarray(Image.open(tmp_path / "rca" / name))[0, 0, 0]
        assert shown == np.uint8(10 * number), name
        assert "mislabeled" in row[5]
    metrics = json.loads((tmp_path / "rca/metrics.json").read_text())
    assert metrics["threshold"] < 0.2 <= metrics["threshold"] + 0.05


def test_fewer_parts_than_the_spot_check_has_room_for(tmp_path: Path) -> None:
    report = analysed(tmp_path, {"PASS": (0.1,), "bridge": (0.9,)})
    assert section(report, "Visual Spot Check").count("![](rca_images/") == 2


def test_what_a_user_wrote_ends_no_cell_of_a_table(tmp_path: Path) -> None:
    report = analysed(tmp_path, {"PASS": (0.1, 0.9), "a|b `c`\nd": (0.8, 0.7)})
    for heading in ("Weakness Distribution", "Visual Spot Check", "Per-Label Breakdown"):
        lines = [x for x in section(report, heading).splitlines() if x.startswith("|")]
        bars = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
        assert len(bars) == 1, heading
    assert r"`a\|b 'c' d`" in report


@pytest.mark.parametrize("scores", [(0.0, 1.0), (1e-7, 2e-7), (-3.5, 12.25), (0.25, 0.5)])
def test_the_threshold_is_one_text_in_both_sections(tmp_path: Path, scores) -> None:
    report = analysed(tmp_path, {"PASS": scores[:1], "bridge": scores[1:]})
    told = {
        re.search(r"Chosen threshold: (\S+?)[; ]", section(report, heading))[1]
        for heading in ("Verdict", "Threshold Selection")
    }
    assert len(told) == 1
    kept = float((tmp_path / "rca/threshold.txt").read_text())
    assert np.float32(float(told.pop())) == np.float32(kept)


def test_the_counts_of_the_kept_samples_add_up(tmp_path: Path) -> None:
    report = analysed(tmp_path, {"PASS": (0.1, 0.95, 0.2), "bridge": (0.9, 0.99)}, top_k=2)
    rows = section(report, "Per-Label Breakdown")
    assert "| `PASS` | 2 | 50.0 % | 1 | 1 |" in rows
    assert "| `bridge` | 2 | 50.0 % | 0 | 2 |" in rows
    text = (tmp_path / "rca/weak_samples_breakdown.txt").read_text()
    assert re.search(r"^PASS +3 +2 +50\.0 +1 +1 ", text, re.M)


def test_both_names_of_the_gaps_are_the_same_table_also_the_second_time(tmp_path: Path) -> None:
    for top_k, rows in ((50, 4), (1, 2)):
        analysed(tmp_path, {"PASS": (0.1, 0.2), "bridge": (0.9, 0.8)}, top_k)
        tables = [tmp_path / "rca" / name for name in ("kpi_gaps.parquet", "gaps.parquet")]
        assert tables[0].read_bytes() == tables[1].read_bytes()
        assert len(pd.read_parquet(tables[1])) == rows


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
            num_golden = 1
