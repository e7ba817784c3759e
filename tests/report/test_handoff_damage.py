"""The hand-off of a run with one damaged file: a stop that names it, and nothing is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fake_run import RUN, TS, FakeRun

from deft.core import layout
from deft.core.errors import HardStop
from deft.record import strict
from deft.record.summaries import write_summary
from deft.report.render import render_report
from deft.run.state import STATE_FILE, read_state
from deft.stages.finish import finish

BEST = "iter1"  # of the made-up run; iter2 is worse
Damage = Callable[[Path], None]


def hand_off(run: FakeRun) -> str:
    return finish(layout.Run(run.workspace, RUN), run.decision, seed=7, code_dir=run.workspace)


def written(run: FakeRun) -> dict[str, bytes]:
    """Return what the hand-off and the lab record consist of."""
    files = [
        run.dir / "best_model.json",
        run.dir / "best_model_inference_spec.yaml",
        run.dir / "best_model_inference_spec_host.yaml",
    ]
    for folder in (
        run.dir / "best_model",
        run.workspace / "artifacts",
        run.workspace / "knowledge_base",
    ):
        files += [p for p in sorted(folder.rglob("*")) if p.is_file()]
    return {str(p): p.read_bytes() for p in files if p.exists()}


# --- damage ---------------------------------------------------------------------------------------


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def gone(path: Path) -> None:
    path.unlink()


def other_type(path: Path) -> None:
    path.write_text("[1, 2]")


def change(*keys: str, to: object) -> Damage:
    """Return what sets one value of a JSON file."""

    def damage(path: Path) -> None:
        data = json.loads(path.read_text())
        node = data
        for key in keys[:-1]:
            node = node[key]
        assert node[keys[-1]] != to
        node[keys[-1]] = to
        path.write_text(json.dumps(data))

    damage.__name__ = f"{'.'.join(keys)}={to}"
    return damage


def copied_from(phase: str) -> Damage:
    """Return what puts another phase's file in place."""

    def damage(path: Path) -> None:
        parts = ["results", *path.parts[path.parts.index("results") + 1 :]]
        here = next(p for p in parts if p == "baseline" or p.startswith("iter"))
        shutil.copyfile(str(path).replace(f"/{here}/", f"/{phase}/").replace(here, phase), path)

    damage.__name__ = f"of_{phase}"
    return damage


def one_row_less(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


METRICS = f"{BEST}/metrics.json"
POINT = ("kinds", "best_val", "recall_point")
EXPORT = "best_model/export.json"
CASES: list[tuple[str, Damage]] = [
    *((METRICS, d) for d in (cut, empty, gone, other_type, copied_from("iter2"))),
    (METRICS, change(*POINT, "far_pct", to=99.0)),
    (METRICS, change(*POINT, "far_pct", to=float("nan"))),
    (METRICS, change(*POINT, "threshold", to=0.123)),
    (METRICS, change(*POINT, "threshold", to="0.5")),
    (METRICS, change(*POINT, "fp", to=0)),
    (METRICS, change("chosen", to="latest")),
    (METRICS, change("weights", "sha256", to="a" * 64)),
    (METRICS, change("weights", "path", to="train/other.pth")),
    ("baseline/metrics.json", cut),
    ("baseline/metrics.json", gone),
    ("baseline/metrics.json", change(*POINT, "far_pct", to=0.0)),
    ("iter2/metrics.json", copied_from("iter1")),
    *((f"{BEST}/train/weights.json", d) for d in (cut, gone, copied_from("iter2"))),
    (f"{BEST}/train/model_epoch_003_step_00036.pth", cut),
    (f"{BEST}/train/model_epoch_003_step_00036.pth", gone),
    *((f"{BEST}/train/experiment.yaml", d) for d in (cut, empty, gone)),
    (f"{BEST}/inference/inference.json", cut),
    (f"{BEST}/inference/inference.json", copied_from("iter2")),
    (f"{BEST}/inference/best_val/inference.csv", one_row_less),
    (f"{BEST}/mining_filter/mining.json", cut),
    (f"{BEST}/dataset/assembly.json", cut),
    (f"{BEST}/rca_results/{TS}/metrics.json", cut),
    (f"{BEST}/rca_results/{TS}/kpi_gaps.parquet", cut),
    *((EXPORT, d) for d in (cut, gone, other_type)),
    (EXPORT, change("phase", to="iter2")),
    (EXPORT, change("weights_sha256", to="b" * 64)),
    (EXPORT, change("sha256", to="b" * 64)),
    (EXPORT, change("parity", "at_kpi_threshold", "threshold", to=0.5)),
    (EXPORT, change("parity", "at_safe_threshold", "threshold", to=0.5)),
    *(("best_model/model.onnx", d) for d in (cut, empty, gone)),
    ("best_model/model.onnx.sha256", cut),
    ("best_model/preprocessing.json", cut),
    ("best_model/preprocessing.json", change("threshold", to=0.5)),
    ("best_model/preprocessing.json", change("kpi_threshold", to=0.5)),
    ("best_model/score_pair.py", cut),
    ("preflight/checks.json", cut),
    ("preflight/checks.json", change("kpi_target", "far_max_pct", to=50.0)),
    ("synth_pool/manifest.json", cut),
    ("iter2/decide/kpi.json", cut),
    ("iter2/decide/kpi.json", change("best_phase", to="iter2")),
    ("iter2/decide/kpi.json", change("best_far_pct", to=0.0)),
    ("iter2/decide/kpi.json", change("stop", to=False)),
    ("iter2/decide/kpi.json", change("kpi_met", to=True)),
    ("iter2/decide/kpi.json", change("reason", to="because")),
    ("iter2/decide/kpi.json", change("target_far_pct", to=5.0)),
]


@pytest.fixture(scope="module")
def handed(built: dict[str, FakeRun], tmp_path_factory: pytest.TempPathFactory) -> FakeRun:
    """A finished run after its hand-off; read only."""
    copy = tmp_path_factory.mktemp("handed") / "w"
    run = FakeRun(shutil.copytree(built["finished"].workspace, copy))
    hand_off(run)
    return run


@pytest.mark.parametrize(
    ("name", "damage"), CASES, ids=[f"{name}-{d.__name__}" for name, d in CASES]
)
def test_damage_stops_the_hand_off(
    handed: FakeRun, tmp_path: Path, name: str, damage: Damage
) -> None:
    finished = FakeRun(shutil.copytree(handed.workspace, tmp_path / "w"))
    decision = finished.decision
    path = finished.dir / name
    damage(path)
    before = written(finished)
    with pytest.raises(HardStop) as stop:
        finish(layout.Run(finished.workspace, RUN), decision, seed=7, code_dir=finished.workspace)
    assert stop.value.file and Path(stop.value.file).is_relative_to(finished.dir)
    assert stop.value.fix
    if name in ("best_model/model.onnx", "best_model/score_pair.py"):  # as for undeclared ones
        assert "best_model/export.json -R export_best" in stop.value.fix
    assert written(finished) == before


@pytest.mark.parametrize("damage", [cut, empty, other_type])
def test_a_damaged_state_is_mended_and_changes_nothing_that_is_handed_off(
    handed: FakeRun, tmp_path: Path, damage: Damage
) -> None:
    """No figure of the hand-off is the state's: it is made again from the log, and kept aside."""
    run = FakeRun(shutil.copytree(handed.workspace, tmp_path / "w"))
    hand_off(run)  # for the names of this place
    before = written(run)
    state = read_state(run.dir)
    path = run.dir / STATE_FILE
    damage(path)
    spoiled = path.read_bytes()
    hand_off(run)
    after = written(run)
    assert after.keys() == before.keys()
    records = {k for k in before if before[k] != after[k]}
    assert not {k for k in records if "/results/" in k}, "the hand-off, to the byte"
    for name in records:  # a lab record says when it was written, and no more is new
        old, new = ([*map(str.strip, side[name].decode().splitlines())] for side in (before, after))
        assert len(old) == len(new)
        new_lines = [line for line, was in zip(new, old, strict=True) if line != was]
        assert all(str(datetime.now(UTC).year) in line for line in new_lines), new_lines
    assert (run.dir / f"{STATE_FILE}.unreadable").read_bytes() == spoiled
    made = read_state(run.dir)
    checks = json.loads((run.dir / "preflight/checks.json").read_text())
    assert made["kpi_target"] == checks["kpi_target"]["sentence"]
    assert made["results_dir"] == str(run.dir)
    assert made["status"] == state["status"]
    assert made["native"]["stop_reason"] == state["native"]["stop_reason"]


def test_the_phase_is_the_decisions(finished: FakeRun) -> None:
    """Seen: with its metrics damaged, another lap than that of best_model/ was handed off."""
    cut(finished.dir / METRICS)
    with pytest.raises(HardStop, match=r"iter1/metrics\.json"):
        hand_off(finished)
    assert not (finished.dir / "best_model.json").exists()


def test_all_agree_in_the_end(finished: FakeRun) -> None:
    hand_off(finished)
    model = json.loads((finished.dir / "best_model.json").read_text())
    export = json.loads((finished.dir / EXPORT).read_text())
    decision = json.loads(finished.decision.read_text())
    assert model["iteration"] == export["phase"] == decision["best_phase"] == model["onnx"]["phase"]
    assert model["checkpoint_sha256"] == export["weights_sha256"]
    assert Path(model["checkpoint"]).is_file() and Path(model["onnx"]["path"]).is_file()
    assert model["far_pct"] == decision["best_far_pct"]


def test_an_earlier_versions_decision_and_export_are_enough(finished: FakeRun) -> None:
    """Without the digests that are new: what they have is compared, and the run is finished."""
    path = finished.dir / EXPORT
    record = json.loads(path.read_text())
    del record["files"]
    path.write_text(json.dumps(record))
    hand_off(finished)


def test_records_read_strictly_and_pages_do_not(finished: FakeRun, unsaved_charts: None) -> None:
    cut(finished.dir / "iter2/metrics.json")
    (finished.dir / f"{BEST}/inference/best_val/inference.csv").write_text("label\nPASS\n")
    with pytest.raises(HardStop, match=r"iter2/metrics\.json"):
        write_summary(finished.dir, "iter1")
    page = render_report(finished.dir, finished.workspace).read_text()
    assert "Damaged files" in page
    assert "iter2/metrics.json" in page and "best_val/inference.csv" in page


def test_no_record_is_made_by_the_pages_reader() -> None:
    """Rendering may leave out what is damaged; what is written down may not."""
    library = Path(strict.__file__).parent
    for name in ("handoff", "artifacts", "knowledge", "summaries", "records", "strict"):
        text = (library / f"{name}.py").read_text(encoding="utf-8")
        assert "record.lenient" not in text.replace("`deft.record.lenient", "")
