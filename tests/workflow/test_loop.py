"""The whole loop on a tiny workspace: every file of the contract, the log, the state, the arms."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from tiny_workspace import make_tiny_workspace
from workflow_tools import RUN, load, log_entries, snakemake, state, succeed, tree

pytestmark = pytest.mark.workflow

TABLE = (
    "input_path golden_path label object_name project boardname comp_type_2 mpass_mfail is_valid "
    "comp_name part_type number_of_pins description comp_type_1"
).split()
PHASES = ("baseline", "iter1", "iter2")
LAPS = ("iter1", "iter2")
TS = RUN.removeprefix("run_")
EACH_KIND = (
    "inference.csv",
    "threshold_metrics.csv",
    "metric_result.json",
    "summary.txt",
    "score_distribution_with_recall_100_threshold.png",
    "confusion_matrix_recall_100.png",
    "confusion_matrix_best_f1.png",
    "confusion_recall_point.png",
    "best_f1_missed_no_pass_samples.csv",
)
EACH_PHASE = (
    "train/weights.json",
    "train/status.json",
    "train/experiment.yaml",
    "train/train.log",
    "train/train_curve.csv",
    "train/validation_curve.csv",
    "inference/inference.json",
    *(f"inference/{kind}/{name}" for kind in ("best_val", "latest") for name in EACH_KIND),
    "metrics.json",
    "decide/kpi.json",
    "report.html",
)
EACH_RCA = (
    "threshold.txt",
    "metrics.json",
    "weak_samples_breakdown.txt",
    "kpi_gaps.parquet",
    "gaps.parquet",
    "RCA_Report.md",
)
EACH_LAP = (
    f"routing_results/{TS}/mining_gaps.parquet",
    f"routing_results/{TS}/anomalygen_gaps.parquet",
    f"routing_results/{TS}/routing_summary.txt",
    f"routing_results/{TS}/Routing_Report.md",
    "anomalygen/ingest_summary.json",
    "mining_filter/target_embeddings.parquet",
    "mining_filter/mined.parquet",
    "mining_filter/mining_pool.csv",
    "mining_filter/knn_summary.csv",
    "mining_filter/knn_pairs.parquet",
    "mining_filter/mining_summary.txt",
    "mining_filter/mining.json",
    "decide/pool.json",
    "dataset/train_combined_{lap}.csv",
    "dataset/train_combined_{lap}_provenance.csv",
    "dataset/assembly.json",
    "dataset/validation.json",
)
EACH_RUN = (
    "preflight/checks.json",
    "preflight/pictures.json",
    "preflight/pictures.npz",
    "preflight/summary.md",
    "preflight/inputs.json",
    "preflight/approval.json",
    "preflight/gate.json",
    "synth_pool/manifest.json",
    "synth_pool/sdg_rows.csv",
    "synth_pool/source_pool.csv",
    "synth_pool/source_pool.parquet",
    "synth_pool/source_embeddings.parquet",
    "deft_state.json",
    "loop_log.jsonl",
    "DEFT_Loop_Report.html",
    "baseline_summary.md",
    "iter1_summary.md",
    "iter2_summary.md",
    "best_model.json",
    "best_model_inference_spec.yaml",
    "best_model_inference_spec_host.yaml",
    "model_card.md",
)
STATE = (
    "version started_at kpi_target results_dir max_iterations current_iteration status config "
    "iterations"
).split()
STATE_CONFIG = (
    "specs_file training_csv validation_csv kpi_test_csv images_dir backbone_weight_dir "
    "train_container num_gpus batch_size num_epochs anomalygen pregen mining_filter"
).split()
STATE_PHASE = (
    "status stage_completed best_ckpt_path best_ckpt_kind far_pct threshold val_loss inference_csv "
    "rca_target_defects rca_gaps_parquet rca_threshold routing_mining_parquet "
    "routing_anomalygen_parquet anomalygen_ingest mining_mined_parquet mining_mined_count "
    "combined_training_csv provenance_csv"
).split()
LAP_STAGES = "routing anomalygen data_mining data_merge train inference evaluate".split()


def header(path: Path) -> list[str]:
    """Return the columns of a CSV file."""
    with path.open(encoding="utf-8", newline="") as handle:
        return next(csv.reader(handle))


def columns(path: Path) -> list[str]:
    """Return the columns of a parquet file."""
    return pq.read_schema(path).names


def expected_files() -> list[str]:
    """Return every file of the contract's run folder for a run of two laps."""
    out = list(EACH_RUN)
    for phase in PHASES:
        out += [f"{phase}/{name}" for name in EACH_PHASE]
        if phase != PHASES[-1]:
            out += [f"{phase}/rca_results/{TS}/{name}" for name in EACH_RCA]
    for lap in LAPS:
        out += [f"{lap}/{name.format(lap=lap)}" for name in EACH_LAP]
    return out


def test_every_file_of_the_contract_is_there(finished: Path) -> None:
    run = finished / "results" / RUN
    missing = [name for name in expected_files() if not (run / name).is_file()]
    lab = [f"artifacts/runs/{RUN}/{n}.json" for n in ("manifest", "summary", "analysis")]
    missing += [name for name in lab if not (finished / name).is_file()]
    assert missing == []
    assert any((run / f"baseline/rca_results/{TS}/rca_images").glob("*.png"))
    assert (finished / "results/current_run").read_text() == f"{RUN}\n"


def test_nothing_half_written_is_left(finished: Path) -> None:
    left = [p for p in tree(finished) if ".tmp" in p or "/.restore_" in p or "/.jobs/" in p]
    assert left == []
    assert not list((finished / "results" / RUN).glob("*/train_resume"))


def test_weight_files_are_those_of_the_table(finished: Path) -> None:
    for phase in PHASES:
        folder = finished / "results" / RUN / phase / "train"
        facts = load(finished, f"{phase}/train/weights.json")
        assert sorted(p.name for p in folder.glob("*.pth")) == [f["path"] for f in facts["files"]]
        assert [f["epoch"] for f in facts["files"]] == [0, 1]
        for entry in facts["files"]:
            name = f"model_epoch_{entry['epoch']:03d}_step_{entry['step']:05d}.pth"
            assert entry["path"] == name
    first = load(finished, "iter1/train/weights.json")["initialised_from"]
    chosen = load(finished, "baseline/metrics.json")["weights"]
    assert first["sha256"] == chosen["sha256"]


def test_columns_of_the_tables(finished: Path) -> None:
    run = finished / "results" / RUN
    scored = header(run / "iter1/inference/latest/inference.csv")
    assert scored == [*TABLE, "siamese_score"]
    swept = header(run / "iter1/inference/latest/threshold_metrics.csv")
    named = "threshold tp fp tn fn precision recall f1 accuracy far".split()
    named += ["predicted_no_pass_count", "actual_no_pass_count", "actual_pass_count"]
    assert swept[: len(named)] == named
    assert header(run / "iter1/mining_filter/mining_pool.csv") == [*TABLE, "provenance"]
    knn = header(run / "iter1/mining_filter/knn_summary.csv")
    counted = {"candidate_count", "kept_count", "rejected_count", "similarity_threshold"}
    assert counted <= set(knn)
    assert header(run / "iter1/dataset/train_combined_iter1.csv")[:14] == TABLE
    source = header(run / "iter1/dataset/train_combined_iter1_provenance.csv")
    assert {"row", "source"} <= set(source)
    assert header(run / "synth_pool/source_pool.csv")[:14] == TABLE


def test_columns_of_the_parquet_files(finished: Path) -> None:
    run = finished / "results" / RUN
    gaps = columns(run / f"baseline/rca_results/{TS}/kpi_gaps.parquet")
    assert {"filepath", "label", "siamese_score", "weakness"} <= set(gaps)
    routed = run / f"iter1/routing_results/{TS}"
    assert columns(routed / "mining_gaps.parquet") == columns(routed / "anomalygen_gaps.parquet")
    assert pq.read_metadata(routed / "anomalygen_gaps.parquet").num_rows == 0
    mined = run / "iter1/mining_filter"
    assert {"filepath", "embedding"} <= set(columns(mined / "target_embeddings.parquet"))
    assert columns(mined / "mined.parquet") == ["filepath"]
    pairs = {"target", "source", "rank", "similarity"}
    assert pairs <= set(columns(mined / "knn_pairs.parquet"))
    pool = columns(run / "synth_pool/source_pool.parquet")
    assert {*TABLE, "provenance", "filepath"} <= set(pool)
    embedded = columns(run / "synth_pool/source_embeddings.parquet")
    assert {"filepath", "embedding"} <= set(embedded)


def test_keys_of_the_json_files(finished: Path) -> None:
    manifest = load(finished, "synth_pool/manifest.json")
    assert {"schema_version", "paths", "counts", "encoder", "digests"} <= set(manifest)
    assert {"real_rows", "sdg_rows", "total_rows"} <= set(manifest["counts"])
    best = load(finished, "best_model.json")
    named = "checkpoint threshold far_pct iteration backbone images_dir training_spec".split()
    assert {*named, "kpi_target", "kpi_met"} <= set(best)
    assert Path(best["checkpoint"]).is_file() and Path(best["checkpoint"]).is_absolute()
    fars = {p: state(finished)["iterations"][p]["far_pct"] for p in PHASES}
    assert best["far_pct"] == min(fars.values()) == fars[best["iteration"]]
    decision = load(finished, "iter2/decide/kpi.json")
    assert decision["stop"] and decision["reason"] == "max_iterations"
    lab = finished / "artifacts/runs" / RUN
    listed = json.loads((lab / "manifest.json").read_text())
    assert listed["tag"] == RUN
    assert {"code", "environment", "data", "hyperparameters", "outputs", "run"} <= set(listed)


def test_inference_keeps_the_rows_of_the_kpi_table(finished: Path) -> None:
    kpi = pd.read_csv(finished / "kpi/testing_set.csv", dtype=str, keep_default_na=False)
    for kind in ("best_val", "latest"):
        path = finished / "results" / RUN / "iter2/inference" / kind / "inference.csv"
        scored = pd.read_csv(path, dtype=str, keep_default_na=False)
        assert scored[TABLE].equals(kpi[TABLE])
        assert scored["siamese_score"].astype(float).notna().all()


def test_the_training_table_only_grows(finished: Path) -> None:
    run = finished / "results" / RUN
    base = pd.read_csv(finished / "train/base/training_set.csv", dtype=str, keep_default_na=False)
    one, two = (
        pd.read_csv(
            run / f"{lap}/dataset/train_combined_{lap}.csv", dtype=str, keep_default_na=False
        )
        for lap in LAPS
    )
    assert len(base) < len(one) < len(two)
    assert list(one["object_name"][: len(base)]) == list(base["object_name"])
    assert two.iloc[: len(one)].equals(one)
    for lap, table in zip(LAPS, (one, two), strict=True):
        facts = load(finished, f"{lap}/dataset/assembly.json")
        assert facts["previous_rows"] + facts["mined_rows"] == facts["rows"] + facts["duplicates"]
        assert facts["rows"] == len(table)
        for column in ("input_path", "golden_path"):
            for folder, name in zip(table[column], table["object_name"], strict=True):
                assert (finished / folder / f"{name}_SolderLight.png").is_file()


def test_log_has_every_stage_once_and_no_gap(finished: Path) -> None:
    entries = log_entries(finished)
    assert [e["seq"] for e in entries] == list(range(1, len(entries) + 1))
    assert {e["status"] for e in entries} == {"ok"}
    assert {e["context_tokens"] for e in entries} == {0}
    named = {"seq", "ts", "iter", "stage", "status", "summary", "duration_sec", "context_tokens"}
    assert all(set(e) == named for e in entries)
    expected = [("preflight", "preflight")]
    expected += [("baseline", s) for s in ("train", "inference", "evaluate", "rca")]
    expected += [("iter1", s) for s in (*LAP_STAGES, "rca")]
    expected += [("iter2", s) for s in LAP_STAGES]
    found = [(e["iter"], e["stage"]) for e in entries]
    # The best phase's analysis is made at the end if it was not made on the way.
    at_the_end = [x for x in found if x not in expected]
    assert sorted(x for x in found if x in expected) == sorted(expected)
    assert at_the_end[-1][1] == "loop_stop" and found[-1] == at_the_end[-1]
    order = [s for phase, s in found if phase == "iter1"]
    assert order == [*LAP_STAGES, "rca"]


def test_state_has_the_fields_of_the_contract(finished: Path) -> None:
    found = state(finished)
    assert set(STATE_CONFIG) == set(found["config"])
    assert set(found) == {*STATE, "native"}, "what is ours alone stands under one key"
    assert found["version"] == 2 and found["status"] == "complete"
    assert found["kpi_target"] == load(finished, "preflight/checks.json")["kpi_target"]["sentence"]
    assert found["config"]["pregen"] == str(finished / "results" / RUN / "synth_pool/manifest.json")
    assert found["config"]["mining_filter"]["sub_skill"] == "tao-mine-aoi-images"
    assert all(type(entry["duration_sec"]) is int for entry in log_entries(finished))
    assert found["current_iteration"] == 2 and found["max_iterations"] == 2
    assert sorted(found["iterations"]) == sorted(PHASES)
    for phase in PHASES:
        entry = found["iterations"][phase]
        assert set(entry) == set(STATE_PHASE)
        assert entry["status"] == "complete"
        assert Path(entry["best_ckpt_path"]).is_file()
        assert entry["routing_anomalygen_parquet"] is None
    assert found["config"]["anomalygen"]["sub_skill"] is None
    assert found["config"]["anomalygen"]["mode"] == "pregen_ingest"


def one_lap(tmp_path: Path, **config: object) -> tuple[Path, str]:
    """Run the loop with one lap on a small fresh workspace."""
    workspace = make_tiny_workspace(
        tmp_path / "workspace", base=8, validation=6, kpi=9, pool=12, pregen=2
    )
    given = {"max_iterations": 1, "training_epochs": 1, **config}
    return workspace, succeed(snakemake(workspace, config=given))


@pytest.mark.slow
def test_no_lap_at_all(tmp_path: Path) -> None:
    workspace, output = one_lap(tmp_path, max_iterations=0)
    assert "Traceback" not in output
    assert load(workspace, "baseline/decide/kpi.json")["reason"] == "max_iterations"
    assert load(workspace, "best_model.json")["iteration"] == "baseline"
    assert not (workspace / "results" / RUN / "iter1").exists()
    assert log_entries(workspace)[-1]["stage"] == "loop_stop"


def test_seeded_baseline_is_not_trained(finished: Path, tmp_path: Path) -> None:
    workspace = make_tiny_workspace(tmp_path / "workspace")
    seeded = workspace / "seeded.pth"
    chosen = load(finished, "baseline/metrics.json")["weights"]
    shutil.copy2(finished / "results" / RUN / "baseline" / chosen["path"], seeded)
    run = workspace / "results" / RUN
    run.mkdir(parents=True)
    entry = {"stage_completed": "train", "best_ckpt_path": str(seeded)}
    given = {"version": 2, "iterations": {"baseline": entry}, "from_outside": {"kept": True}}
    (run / "deft_state.json").write_text(json.dumps(given))
    output = succeed(snakemake(workspace, config={"max_iterations": 0}))
    assert "skipped: pre-seeded weights seeded.pth" in output
    facts = load(workspace, "baseline/train/weights.json")
    assert facts["preseeded"] and facts["steps"] == 0
    assert facts["files"][0]["sha256"] == chosen["sha256"]
    assert state(workspace)["from_outside"] == {"kept": True}
    assert load(workspace, "baseline/decide/kpi.json")["reason"] == "max_iterations"
    assert not (workspace / "results" / RUN / "iter1").exists()
    # The same weights on the same KPI set give the same result.
    assert load(workspace, "best_model.json")["checkpoint_sha256"] == chosen["sha256"]


@pytest.mark.slow
def test_a_lap_that_the_cutoff_leaves_without_rows_is_a_good_end(tmp_path: Path) -> None:
    workspace, output = one_lap(tmp_path, min_similarity=1.0)
    assert load(workspace, "iter1/decide/pool.json")["reason"] == "similarity_cutoff"
    mining = load(workspace, "iter1/mining_filter/mining.json")
    assert mining["new_rows"] == 0 and mining["rejected"]["rejected"] > 0
    assert f"rejects all {mining['rejected']['rejected']} neighbours" in mining["warnings"][-1]
    last = log_entries(workspace)[-1]
    assert (last["stage"], last["status"]) == ("loop_stop", "ok")
    assert last["summary"].startswith("similarity_cutoff")
    found = state(workspace)
    assert found["status"] == "complete" and found["native"]["stop_reason"] == "similarity_cutoff"
    run = workspace / "results" / RUN
    assert (run / "best_model.json").is_file() and (run / "DEFT_Loop_Report.html").is_file()
    assert not (run / "iter1/train").exists()
    assert "HARD STOP" not in output


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["random", "none"])
def test_control_arms(tmp_path: Path, arm: str) -> None:
    workspace, _ = one_lap(tmp_path, mining=arm)
    facts = load(workspace, "iter1/mining_filter/mining.json")
    assembled = load(workspace, "iter1/dataset/assembly.json")
    assert facts["strategy"] == arm
    assert facts["new_rows_of_nearest"] > 0
    weights = load(workspace, "iter1/train/weights.json")
    if arm == "random":
        assert facts["new_rows"] == facts["new_rows_of_nearest"]
        assert assembled["rows"] == 8 + facts["new_rows"]
    else:
        assert facts["new_rows"] == 0 and assembled["rows"] == 8
        # As many steps as the mined table would have given: whole batches of four.
        draws = 8 + facts["new_rows_of_nearest"]
        assert weights["steps"] == draws // 4 > 8 // 4
    assert load(workspace, "best_model.json")["mining_arm"] == arm


@pytest.mark.slow
def test_laps_stop_when_the_target_is_met(tmp_path: Path) -> None:
    workspace, _ = one_lap(tmp_path, kpi="FAR <= 100% at recall=100%")
    assert load(workspace, "baseline/decide/kpi.json")["reason"] == "kpi_met"
    assert load(workspace, "best_model.json")["kpi_met"] is True
    assert not (workspace / "results" / RUN / "iter1").exists()


@pytest.mark.slow
def test_a_strategy_with_rules(tmp_path: Path) -> None:
    rules = {"mining_budget": 4, "mining_skip_known": "true", "mining_min_distance": 1e-6}
    workspace, _ = one_lap(tmp_path, mining="places", **rules)
    facts = load(workspace, "iter1/mining_filter/mining.json")
    assert facts["strategy"] == "places" and facts["budget"] == 4
    assert facts["rules"]["skip_known"] is True and facts["rules"]["min_distance"] == 1e-6
    assert 0 < facts["new_rows"] <= 4
    assert load(workspace, "iter1/dataset/assembly.json")["new_rows"] == facts["new_rows"]
