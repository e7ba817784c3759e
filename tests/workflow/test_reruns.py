"""What a change makes run again, and above all what it does not: dear stages never by accident."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from pathlib import Path

import pytest
import yaml
from workflow_tools import (
    CONFIG,
    POOL,
    REPOSITORY,
    RUN,
    copy_of_repository,
    draw,
    load,
    log_entries,
    plan,
    planned_rules,
    snakemake,
    succeed,
    tree,
)

pytestmark = pytest.mark.workflow

TS = RUN.removeprefix("run_")
SPEC = "specs/baseline_spec.yaml"
ONE_MB = 1_000_000  # above this Snakemake compares time stamps and no content
DEAR = {"train", "infer", "embed_shard", "mine", "restore_weights"}
# Files that no rule promises: records, locks, what the approval wrote, pages rendered on the way.
UNPROMISED = re.compile(
    rf"results/{RUN}/(logs/|benchmarks/|preflight/|hard_stops/|\.|deft_state\.json|loop_log\.jsonl|"
    rf"DEFT_Loop_Report\.html|synth_pool/images/|synth_pool/source_embed\.log|"
    rf".*/rca_images/|.*/train\.log)"
)
# artifact -> rules that its deletion may make run; nothing else, and nothing dearer upstream.
SAMPLE = {
    "iter1/metrics.json": {"evaluate"},
    "baseline/inference/best_val/inference.csv": {"infer"},
    f"baseline/rca_results/{TS}/kpi_gaps.parquet": {"rca"},
    "synth_pool/source_pool.parquet": {"stage_pool"},
    "synth_pool/source_embeddings.parquet": {"embed_pool", "embed_shard"},
    "iter1/mining_filter/mining.json": {"mine"},
    "iter2/dataset/train_combined_iter2.csv": {"assemble"},
    "iter1/train/weights.json": {"train"},
    "iter1/train/model_epoch_001_step_00016.pth": {"restore_weights"},
    "iter1/report.html": {"phase_report"},
    "best_model.json": {"finish"},
}
CHEAP_TO_REBUILD = ["iter1/metrics.json", "iter1/dataset/assembly.json"]


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A copy of the repository, to be edited at will."""
    return copy_of_repository(tmp_path / "repository")


def maker_of(name: str) -> str:
    """Return the rule that makes an artifact (path below the workspace)."""
    name = name.removeprefix(f"results/{RUN}/")
    by_place = (
        (r"artifacts/|best_model", "finish"),
        (r".*/train/.*\.pth$", "restore_weights"),
        (r".*/train/", "train"),
        (r".*/inference/(inference\.json|\w+/inference\.csv)$", "infer"),
        (r".*/(inference/|metrics\.json$)(?<!rca)", "evaluate"),
        (r".*/rca_results/", "rca"),
        (r".*/routing_results/", "route"),
        (r".*/anomalygen/", "ingest"),
        (r".*/mining_filter/", "mine"),
        (r".*/dataset/validation\.json$", "validate"),
        (r".*/dataset/", "assemble"),
        (r".*/decide/", "decide"),
        (r".*report\.html$|\w+_summary\.md$", "phase_report"),
        (r"synth_pool/source_embeddings", "embed_pool"),
        (r"synth_pool/", "stage_pool"),
    )
    if "/rca_results/" in name:
        return "rca"
    return next(rule for pattern, rule in by_place if re.match(pattern, name))


def rebuilding(name: str) -> set[str]:
    """Return the rules that make an artifact: its own, and the shards of the pool, kept nowhere."""
    maker = maker_of(name)
    return {maker, "embed_shard"} if maker == "embed_pool" else {maker}


def promised_files(workspace: Path) -> list[str]:
    """Return every file of a finished run that some rule declares, and every weight file."""
    found = sorted(p for p in tree(workspace) if p.startswith((f"results/{RUN}/", "artifacts/")))
    return [p for p in found if not UNPROMISED.match(p)]


# --- code -----------------------------------------------------------------------------------------


def test_comments_in_scripts_and_library_rerun_nothing(finished: Path, code: Path) -> None:
    assert plan(finished, repository=code) == {}
    for path in [*code.glob("scripts/*.py"), *code.glob("scripts/deft/**/*.py")]:
        with path.open("a") as handle:
            handle.write("\n# a remark\n")
    assert plan(finished, repository=code) == {}


def stages() -> list[str]:
    """Return the stages that have a version of their logic."""
    return sorted(json.loads((REPOSITORY / "rules/logic_versions.json").read_text()))


AT_ONCE = ("train", "mine", "decide")  # the others in the slow suite


@pytest.mark.parametrize(
    "stage", [pytest.param(s, marks=[pytest.mark.slow] * (s not in AT_ONCE)) for s in stages()]
)
def test_raised_logic_version_reruns_that_stage(finished: Path, code: Path, stage: str) -> None:
    path = code / "rules/logic_versions.json"
    versions = json.loads(path.read_text())
    versions[stage] += 1
    path.write_text(json.dumps(versions))
    planned = plan(finished, repository=code)
    assert stage in planned
    # What runs again by itself is the stage and what its output really changes, never the baseline.
    if stage not in ("train",):
        assert planned.get("train", 0) <= 2


# --- data -----------------------------------------------------------------------------------------


def test_grown_pool_reruns_nothing(workspace: Path) -> None:
    path = workspace / POOL
    assert path.stat().st_size > ONE_MB, "the finished run must have a large pool from the start"
    with path.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.reader(handle))
    with path.open("a", encoding="utf-8", newline="") as handle:
        csv.writer(handle, lineterminator="\n").writerow(rows[-1])
    os.utime(path)
    assert plan(workspace) == {}
    before = log_entries(workspace)
    succeed(snakemake(workspace))
    assert log_entries(workspace) == before


def test_new_time_stamps_of_inputs_rerun_nothing(workspace: Path) -> None:
    for name in (POOL, SPEC, "kpi/testing_set.csv", "train/base/training_set.csv"):
        os.utime(workspace / name)
    assert plan(workspace) == {}


def test_changed_spec_value_trains_again(workspace: Path) -> None:
    spec = yaml.safe_load((workspace / SPEC).read_text())
    spec["train"]["optim"]["lr"] *= 2
    (workspace / SPEC).write_text(yaml.safe_dump(spec, sort_keys=False))
    done = snakemake(workspace, args=["-n"])
    assert planned_rules(done.stdout)["train"] >= 1
    assert f"{SPEC}: content changed" in done.stdout  # and the approval is void


# --- parameters -----------------------------------------------------------------------------------


def test_new_target_decides_again_without_training(finished: Path) -> None:
    planned = plan(finished, config={"kpi": "FAR < 50% at recall=100%"})
    assert planned["decide"] >= 1
    assert not DEAR & set(planned)


def test_new_target_really_ends(workspace: Path) -> None:
    trained = [e for e in log_entries(workspace) if e["stage"] == "train"]
    config = {"kpi": "FAR <= 100% at recall=100%"}
    succeed(snakemake(workspace, config=config))
    assert load(workspace, "baseline/decide/kpi.json")["reason"] == "kpi_met"
    assert load(workspace, "best_model.json")["kpi_met"] is True
    assert [e for e in log_entries(workspace) if e["stage"] == "train"] == trained
    assert log_entries(workspace)[-1]["summary"].startswith("kpi_met")
    assert plan(workspace, config=config) == {}


def test_new_neighbours_mine_again(finished: Path) -> None:
    planned = plan(finished, config={"top_k_per_target": 3})
    assert planned["mine"] >= 1
    assert not {"embed_shard", "restore_weights"} & set(planned)
    assert planned.get("train", 0) <= 2, "the baseline stays"


def test_one_lap_more_keeps_what_is_done(finished: Path) -> None:
    planned = plan(finished, config={"max_iterations": 3})
    assert planned["decide"] >= 1
    assert not {"embed_shard", "restore_weights"} & set(planned)
    assert planned.get("train", 0) <= 1 and planned.get("mine", 0) <= 1


# --- deleted artifacts ----------------------------------------------------------------------------


def test_sample_names_files_of_the_run(finished: Path) -> None:
    promised = set(promised_files(finished))
    assert {f"results/{RUN}/{name}" for name in SAMPLE} <= promised
    for name, rules in SAMPLE.items():
        assert rules == rebuilding(name)


@pytest.mark.parametrize("name", SAMPLE)
def test_deleted_artifact_is_rebuilt_alone(workspace: Path, name: str) -> None:
    target = f"results/{RUN}/{name}"
    (workspace / target).unlink()
    assert plan(workspace, target) == dict.fromkeys(SAMPLE[name], 1)
    # The whole loop needs the file no more, or makes it again without anything dearer.
    whole = set(plan(workspace)) & DEAR
    assert whole <= SAMPLE[name] | ({"infer"} if name.endswith("weights.json") else set())


@pytest.mark.parametrize("name", CHEAP_TO_REBUILD)
def test_rebuilt_artifact_restarts_no_training(workspace: Path, name: str) -> None:
    target = workspace / "results" / RUN / name
    content = target.read_bytes()
    target.unlink()
    succeed(snakemake(workspace, f"results/{RUN}/{name}"))
    assert target.read_bytes() == content
    assert not DEAR & set(plan(workspace))


@pytest.fixture(scope="module")
def own_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was not copied: tables hold absolute paths, so a copy is rebuilt differently."""
    workspace = draw(tmp_path_factory.mktemp("own") / "workspace")
    succeed(snakemake(workspace))
    return workspace


PLACES = ("baseline", "iter1", "iter2", "synth_pool", "artifacts", "")


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES, ids=lambda p: p or "run")
def test_every_artifact_can_be_rebuilt(own_run: Path, place: str) -> None:
    """One after the other in one workspace: each rebuild must leave a finished run behind."""

    def in_place(name: str) -> bool:
        parts = name.removeprefix(f"results/{RUN}/").split("/")
        return (parts[0] if len(parts) > 1 else "") == place

    workspace = own_run
    names = [name for name in promised_files(workspace) if in_place(name)]
    assert names
    same_bytes = (".csv", ".parquet", ".pth", ".txt")
    for name in names:
        target = workspace / name
        content = target.read_bytes()
        target.unlink()
        planned = plan(workspace, name)
        assert planned == dict.fromkeys(rebuilding(name), 1), name
        succeed(snakemake(workspace, name))
        assert target.is_file(), name
        if target.suffix in same_bytes:
            assert target.read_bytes() == content, name
        assert "train" not in plan(workspace), name


@pytest.mark.slow
@pytest.mark.parametrize("folder", [f"baseline/rca_results/{TS}/rca_images", "synth_pool/images"])
def test_deleted_picture_folder_is_rebuilt(workspace: Path, folder: str) -> None:
    path = workspace / "results" / RUN / folder
    pictures = tree(path)
    shutil.rmtree(path)
    succeed(snakemake(workspace, f"results/{RUN}/{folder}"))
    kept = {k: v for k, v in tree(path).items() if not k.startswith(".snakemake")}
    assert kept == {k: v for k, v in pictures.items() if not k.startswith(".snakemake")}
    assert "train" not in plan(workspace)


# --- profiles -------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["default", "gpu", "slurm"])
def test_no_profile_reruns_a_finished_loop(finished: Path, profile: str) -> None:
    if profile == "slurm":
        pytest.importorskip("snakemake_executor_plugin_slurm")
    args = ["--workflow-profile", str(REPOSITORY / "profiles" / profile)]
    assert CONFIG["device"] == "cpu"
    assert plan(finished, args=args) == {}
    planned = plan(finished, args=args, config={"kpi": "FAR < 50% at recall=100%"})
    assert planned["decide"] >= 1 and not DEAR & set(planned)
