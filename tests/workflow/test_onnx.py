"""The hand-off of the finished run, and the loop's inference by ONNX Runtime."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from stage_calls import arguments
from workflow_tools import (
    REPOSITORY,
    RUN,
    as_documented,
    load,
    plan,
    reseal,
    script,
    snakemake,
    succeed,
)

from deft.core import layout
from deft.core.layout import Run

pytestmark = [pytest.mark.workflow, pytest.mark.long]

LAST = "iter2/decide/kpi.json"  # the decision that ended the finished run
HANDED_OFF = {
    *("README.md", "export.json", "model.onnx", "model.onnx.sha256", "preprocessing.json"),
    *("score_pair.py", "read_picture.py"),
}


def best_phase(workspace: Path) -> tuple[Path, dict]:
    """Return the best phase's folder and metrics."""
    name = load(workspace, "best_model.json")["iteration"]
    return workspace / "results" / RUN / name, load(workspace, f"{name}/metrics.json")


def test_the_folder_scores_two_pictures_as_the_pipeline_did(finished: Path) -> None:
    folder = finished / "results" / RUN / "best_model"
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.suffix != ".pyc"}
    there -= {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_dir()}
    assert there == HANDED_OFF | set(layout.SCORING_FILES)
    phase, metrics = best_phase(finished)
    scored = pd.read_csv(phase / "inference" / metrics["chosen"] / "inference.csv")
    threshold = metrics["kinds"][metrics["chosen"]]["recall_point"]["threshold"]
    # The nearest part on either side of the threshold that float noise cannot turn.
    distance = (scored["siamese_score"] - threshold).abs()
    for above in (True, False):
        rows = scored[((scored["siamese_score"] > threshold) == above) & (distance > 1e-5)]
        row = rows.loc[distance[rows.index].idxmin()]
        images = finished / "kpi/images"
        pictures = [
            str(images / row[side] / f"{row['object_name']}_SolderLight.png")
            for side in ("input_path", "golden_path")
        ]
        done = subprocess.run(
            [sys.executable, "score_pair.py", *pictures],
            cwd=folder, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        score, decision = done.stdout.split()
        assert float(score) == pytest.approx(row["siamese_score"], abs=1e-5)
        assert decision == ("NO_PASS" if above else "PASS")


def test_the_docs_name_every_file_of_the_folder(finished: Path) -> None:
    page = (REPOSITORY / "docs/deploy.md").read_text(encoding="utf-8")
    readme = (finished / "results" / RUN / "best_model/README.md").read_text(encoding="utf-8")
    scoring = {n for n in layout.SCORING_FILES if not n.startswith("score_kit/")} | {"score_kit/"}
    every = HANDED_OFF | scoring
    assert [name for name in every if f"| `{name}` |" not in page] == []
    named = every - {"README.md", "model.onnx.sha256"}
    assert [name for name in named if f"| `{name}` |" not in readme] == []
    assert "sha256sum -c model.onnx.sha256" in readme


def test_the_folder_s_reader_of_pictures_can_be_asked_for(workspace: Path) -> None:
    """As the hand-off advises where it is lost; the other files: test_reruns.py."""
    target = f"results/{RUN}/best_model/read_picture.py"
    (workspace / target).unlink()
    assert plan(workspace, target) == {"export_best": 1}


def decisions(workspace: Path) -> tuple[list[str], pd.DataFrame]:
    """Return the record's decision of every KPI part, and the KPI table."""
    phase, metrics = best_phase(workspace)
    table = pd.read_csv(phase / "inference" / metrics["chosen"] / "inference.csv")
    point = metrics["kinds"][metrics["chosen"]]["recall_point"]
    above = table["siamese_score"].to_numpy(np.float32) > np.float32(point["threshold"])
    return np.where(above, "NO_PASS", "PASS").tolist(), table.drop(columns="siamese_score")


def test_both_commands_decide_the_kpi_table_as_the_record(workspace: Path, tmp_path: Path) -> None:
    wanted, table = decisions(workspace)
    run = workspace / "results" / RUN
    state = (run / "deft_state.json").read_bytes()
    config = {"table": "kpi/testing_set.csv"}
    out = succeed(snakemake(workspace, "score", config=config))
    assert "24 labelled: FAR " in out and "drift: " in out
    by_rule = run / "scored/testing_set/scores.csv"
    moved = tmp_path / "at the line"
    shutil.copytree(run / "best_model", moved)
    by_script = tmp_path / "scores.csv"
    command = [sys.executable, str(moved / "score.py"), "--csv", "kpi/testing_set.csv"]
    command += ["--images", "kpi/images", "--out", str(by_script)]
    done = subprocess.run(command, cwd=workspace, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for path in (by_rule, by_script):
        scored = pd.read_csv(path)
        assert scored["verdict"].tolist() == wanted
        assert scored.drop(columns=["score", "verdict", "margin"]).equals(table)
    told = json.loads(by_rule.with_name("scores.summary.json").read_text())
    point = best_phase(workspace)[1]
    point = point["kinds"][point["chosen"]]["recall_point"]
    for name in ("tp", "fp", "tn", "fn"):
        assert told["measured"][name] == told["kpi"][name] == point[name]
    for name in ("far_pct", "far_upper95_pct", "recall_pct", "recall_lower95_pct"):
        assert told["measured"][name] == pytest.approx(point[name], abs=1e-9)
    assert (run / "deft_state.json").read_bytes() == state  # no part of the loop
    assert plan(workspace, "all") == {}
    text = (workspace / "kpi/testing_set.csv").read_text(encoding="utf-8").splitlines(True)
    other = tmp_path / "testing_set.csv"
    other.write_text("".join(text[:5]), encoding="utf-8")
    out = succeed(snakemake(workspace, "score", config={"table": str(other)}))
    assert "held other scores: they lie in " in out and len(pd.read_csv(by_rule)) == 4
    assert sorted(p.name for p in by_rule.parent.parent.iterdir())[0] == "testing_set"
    earlier = next(by_rule.parent.parent.glob("testing_set.*/scores.csv"))
    assert earlier.read_bytes() == by_script.read_bytes()


def test_scoring_says_what_it_lacks(workspace: Path) -> None:
    run = workspace / "results" / RUN
    for config, words in (
        ({}, "HARD STOP config_invalid: table is not set"),
        ({"table": "none.csv"}, "HARD STOP missing_input: the table cannot be read"),
        ({"table": "kpi/testing_set.csv", "images": "train"}, "24 of 24 parts lack a picture"),
    ):
        done = snakemake(workspace, "score", config=config)
        assert done.returncode and words in done.stdout and "Traceback" not in done.stdout
    (run / "best_model/model.onnx").write_bytes(b"x")
    done = snakemake(workspace, "score", config={"table": "kpi/testing_set.csv"})
    assert "is not the file that was handed off" in done.stdout
    advice = f"snakemake best_model -R export_best --config run={RUN}"
    assert advice in as_documented(done.stdout)
    assert plan(workspace, "best_model", args=["-R", "export_best"])["export_best"] == 1


def test_the_advice_for_a_file_that_no_rule_names_makes_it_again(workspace: Path) -> None:
    record = workspace / "results" / RUN / "best_model/export.json"
    told = json.loads(record.read_text())
    told["files"]["model.int8.onnx"] = "0" * 64
    record.write_text(json.dumps(told))
    (workspace / "results" / RUN / "best_model.json").unlink()
    done = snakemake(workspace)
    target = f"results/{RUN}/best_model/export.json"
    assert f"snakemake {target} -R export_best" in as_documented(done.stdout)
    succeed(snakemake(workspace, target, args=["-R", "export_best"]))
    assert "model.int8.onnx" not in json.loads(record.read_text())["files"]


def test_the_handed_off_threshold_decides_every_kpi_part_alike(finished: Path) -> None:
    phase, metrics = best_phase(finished)
    facts = load(finished, "best_model/preprocessing.json")
    point = metrics["kinds"][metrics["chosen"]]["recall_point"]
    table = pd.read_csv(phase / "inference" / metrics["chosen"] / "inference.csv")
    scores = table["siamese_score"].to_numpy(np.float32)
    assert facts["kpi_threshold"] == pytest.approx(point["threshold"], abs=1e-9)
    alike = (scores > np.float32(facts["threshold"])) == (scores > np.float32(point["threshold"]))
    assert alike.all()


def test_pointers_digests_and_numbers_agree(finished: Path) -> None:
    best, record = load(finished, "best_model.json"), load(finished, "best_model/export.json")
    path = Path(best["onnx"]["path"])
    assert path.is_absolute() and path == finished / "results" / RUN / "best_model/model.onnx"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest == best["onnx"]["sha256"] == record["sha256"]
    assert record["weights_sha256"] == best["checkpoint_sha256"]
    assert record["phase"] == best["iteration"] == best["onnx"]["phase"]
    parity = record["parity"]["at_safe_threshold"]
    assert parity["flips"] == 0 and parity["pairs"] == record["kpi_rows"] == 24
    assert parity["largest_difference"] < 1e-5 and parity["smallest_margin"] > 0
    assert Path(best["onnx"]["example"]).is_file()
    lab = finished / "artifacts/runs" / RUN
    outputs = {
        o["path"]: o["sha256"] for o in json.loads((lab / "manifest.json").read_text())["outputs"]
    }
    assert outputs[f"results/{RUN}/best_model/model.onnx"] == digest
    results = json.loads((lab / "analysis.json").read_text())["results"]
    assert results["export.flips"] == 0 and results["export.pairs"] == 24
    page = (finished / "results" / RUN / "DEFT_Loop_Report.html").read_text()
    assert "best_model/model.onnx" in page and 'data-key="export.largest_difference"' in page


def test_inference_by_onnx_runtime_gives_torchs_table(finished: Path, workspace: Path) -> None:
    target = f"results/{RUN}/baseline/metrics.json"
    planned = plan(workspace, target, config={"runtime": "onnx"})
    assert planned == {"infer": 1, "evaluate": 1}
    succeed(snakemake(workspace, target, config={"runtime": "onnx"}))
    facts = load(workspace, "baseline/inference/inference.json")
    assert facts["runtime"]["name"] == "onnx"
    assert facts["runtime"]["provider"] == "CPUExecutionProvider"
    assert all(len(k["onnx_sha256"]) == 64 for k in facts["kinds"].values())
    assert load(finished, "baseline/inference/inference.json")["runtime"] == {"name": "torch"}
    for kind in ("best_val", "latest"):
        name = f"results/{RUN}/baseline/inference/{kind}/inference.csv"
        by_torch, by_onnx = (pd.read_csv(w / name) for w in (finished, workspace))
        ours, theirs = by_onnx.pop("siamese_score"), by_torch.pop("siamese_score")
        assert by_onnx.equals(by_torch) and (ours - theirs).abs().max() < 1e-5
    before, after = (load(w, "baseline/metrics.json")["kinds"] for w in (finished, workspace))
    for kind in before:
        for count in ("tp", "fp", "tn", "fn"):
            assert after[kind]["recall_point"][count] == before[kind]["recall_point"][count]


def export(workspace: Path, *more: str):
    """Run the rule's own command line."""
    run, best = Run(Path(), RUN), best_phase(workspace)[0].name
    named = arguments("export_best", run, run.dir / LAST, best)
    args = ("--workspace", ".", "--run", RUN, *named, "--device", "cpu")
    return script(workspace, "export_best", *args, *more)


def test_a_flipped_decision_stops_the_hand_off(workspace: Path) -> None:
    """As if the KPI had been measured in another precision: two parts change sides."""
    phase, metrics = best_phase(workspace)
    path = phase / "inference" / metrics["chosen"] / "inference.csv"
    threshold = metrics["kinds"][metrics["chosen"]]["recall_point"]["threshold"]
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    scores = table["siamese_score"].astype(float)
    above, below = scores[scores > threshold].idxmax(), scores[scores <= threshold].idxmin()
    table.loc[[above, below], "siamese_score"] = table.loc[[below, above], "siamese_score"].values
    table.to_csv(path, index=False)
    reseal(path, phase / "inference/inference.json")
    done = export(workspace)
    assert done.returncode == 1 and "Traceback" not in done.stdout
    assert "HARD STOP score_invalid: the exported ONNX decides 2 of 24 parts" in done.stdout
    rows = sorted(i + 2 for i in (above, below))
    assert f"testing_set.csv, rows {rows[0]}, {rows[1]}" in done.stdout
    assert "runtime: onnx" in done.stdout


def test_int8_is_recorded_whatever_becomes_of_it(workspace: Path) -> None:
    succeed(export(workspace, "--int8", "true"))
    record = load(workspace, "best_model/export.json")["int8"]
    folder = workspace / "results" / RUN / "best_model"
    assert record["kept"] == (record["flips"] == 0) == (folder / "model.int8.onnx").is_file()
    assert ("model.int8.onnx" in (folder / "model.onnx.sha256").read_text()) == record["kept"]
    assert record["reason"] in (folder / "README.md").read_text()
    succeed(snakemake(workspace, "report"))
    page = (workspace / "results" / RUN / "DEFT_Loop_Report.html").read_text()
    assert ("not kept: it would turn" in page) != record["kept"]


def test_the_target_best_model_makes_the_folder_again(workspace: Path) -> None:
    folder = workspace / "results" / RUN / "best_model"
    before = (folder / "model.onnx").read_bytes()
    assert plan(workspace, "best_model") == {}
    for name in ("model.onnx", "export.json"):
        (folder / name).unlink()
    succeed(snakemake(workspace, "best_model"))
    assert (folder / "model.onnx").read_bytes() == before
