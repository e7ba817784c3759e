"""The machine fails, and the stage is done again; the data is wrong, and it is not."""

from __future__ import annotations

import json

import pytest
from cluster import Cluster, until
from guard import slurm
from slurm_tools import METRICS, WEIGHTS, Command, Workplace, node_of, rule_of, state_of
from workflow_tools import RUN, log_entries, state

pytestmark = [pytest.mark.slurm, pytest.mark.workflow]

LONG = {"training_epochs": 400}  # lasts until the test has done something to it
MEDIUM = {"training_epochs": 60}


def memory_mb(number: int) -> int:
    """Return the memory that a job asked for."""
    text = slurm("squeue", "-h", "--states=all", "-j", str(number), "-o", "%m").strip()
    return int(text.rstrip("M")) if not text.endswith("G") else int(text[:-1]) * 1024


def good_stages(place: Workplace) -> list[tuple[str, str]]:
    return [(e["iter"], e["stage"]) for e in log_entries(place.workspace) if e["status"] == "ok"]


def test_out_of_memory_is_tried_again_with_more(place: Workplace) -> None:
    # 350 MB hold the two Snakemakes of a job and not torch.
    rules = {"train": {"mem_mb": "350 if attempt == 1 else 3000"}}
    command = place.snakemake(WEIGHTS, profile=place.profile(rules=rules), device="cpu")
    command.succeed()
    first, second = command.submitted()
    assert (memory_mb(first), memory_mb(second)) == (350, 3000)
    assert state_of(first) != "COMPLETED" and state_of(second) == "COMPLETED"
    assert "exceeded memory limit" in place.slurm_log(first)
    assert good_stages(place).count(("baseline", "train")) == 1


def test_over_the_time_limit_is_tried_again_with_more(place: Workplace) -> None:
    rules = {"train": {"runtime": "1 if attempt == 1 else 30"}}
    profile = place.profile(rules=rules)
    command = place.snakemake(WEIGHTS, profile=profile, device="cpu", training_epochs=1500)
    first = command.job()
    until(lambda: state_of(first) == "TIMEOUT", "the time limit", 300)
    second = command.job(2)
    assert "1:00" not in slurm("squeue", "-h", "-j", str(second), "-o", "%l")
    command.kill()  # the rest of the epochs is of no interest
    slurm("scancel", str(second))
    entries = log_entries(place.workspace)
    assert [e for e in entries if e["status"] == "error"] == [], "no hard stop"


def end_without_its_node(
    command: Command, number: int, cluster: Cluster, queued_within_s: float
) -> str:
    """Lose the node of a job at work, let the command go on to its end; return the node."""
    lost = node_of(number)
    cluster.lose(lost)
    try:
        # SLURM notices, queues the job again, and would wait two minutes more.
        until(lambda: state_of(number) == "PENDING", "the job to be queued again", queued_within_s)
        slurm("scontrol", "update", f"JobId={number}", "StartTime=now")
        command.succeed()
    finally:
        cluster.revive(lost)
    return lost


def test_a_lost_node_s_job_runs_elsewhere(place: Workplace, cluster: Cluster) -> None:
    command = place.snakemake(METRICS, profile=place.profile(), device="cpu", **MEDIUM)
    number = command.job()
    epochs = place.workspace / "results" / RUN / "baseline"
    until(lambda: list(epochs.glob("train*/*epoch_00[1-9]*")), "the first epochs", 120)
    lost = end_without_its_node(command, number, cluster, 120)
    done = [n for n in command.submitted() if rule_of(n) == "train"]
    assert state_of(done[-1]) == "COMPLETED" and node_of(done[-1]) != lost
    assert good_stages(place).count(("baseline", "train")) == 1
    assert len(place.load("baseline/train/weights.json")["files"]) == MEDIUM["training_epochs"]


def test_a_node_lost_while_shards_are_embedded(place: Workplace, cluster: Cluster) -> None:
    """Its shard is embedded elsewhere, and the joined vectors are those of an undisturbed run."""
    config = {"device": "cpu", "embed_shard_rows": 16, "training_epochs": 1, "max_iterations": 1}
    config |= {"embed_batch_size": 1, "embedding_cache": "'off'"}  # so that a shard takes a while
    embedded = f"results/{RUN}/synth_pool/source_embeddings.parquet"
    path = place.workspace / embedded
    place.snakemake(embedded, profile=place.profile(), **config).succeed()
    undisturbed = path.read_bytes()
    path.unlink()
    path.with_suffix(".json").unlink()

    command = place.snakemake(embedded, profile=place.profile(), **config)
    number = command.job()
    assert rule_of(number) == "embed_shard"
    lost = end_without_its_node(command, number, cluster, 180)
    shards = [n for n in command.submitted() if rule_of(n) == "embed_shard"]
    assert len(shards) > 2 and node_of(number) != lost
    assert path.read_bytes() == undisturbed


def test_a_cancelled_job_is_tried_again(place: Workplace) -> None:
    command = place.snakemake(WEIGHTS, profile=place.profile(), device="cpu", **MEDIUM)
    first = command.job()
    slurm("scancel", str(first))
    text = command.succeed()
    assert f"SLURM-job '{first}' failed, SLURM status is: 'CANCELLED'" in text
    assert [state_of(n) for n in command.submitted()] == ["CANCELLED", "COMPLETED"]


def test_cancelled_for_good_ends_the_run(place: Workplace) -> None:
    profile = place.profile(retries=0)
    command = place.snakemake(WEIGHTS, profile=profile, device="cpu", **LONG)
    slurm("scancel", str(command.job()))
    text = command.fail()
    assert "CANCELLED" in text and "train.log" in text and "slurm_logs" in text
    assert state(place.workspace)["status"] == "failed"


def test_a_hard_stop_is_told_and_does_no_work_twice(place: Workplace) -> None:
    # A picture that is lost after the gate has seen it: found by the training, on its node.
    place.snakemake(
        f"results/{RUN}/preflight/gate.json", profile=place.profile(), device="cpu"
    ).succeed()
    pictures = sorted((place.workspace / "kpi/images/base").rglob("*.png"))
    for picture in pictures:
        picture.write_bytes(b"no picture")
    command = place.snakemake(WEIGHTS, profile=place.profile(), device="cpu")
    text = command.fail()
    assert "HARD STOP image_invalid: picture kpi/images/base/" in text
    assert "in: train/base/training_set.csv, row" in text
    assert f"results/{RUN}/baseline/train/train.log" in text and "slurm_logs" in text
    assert "Traceback" not in text
    errors = [e for e in log_entries(place.workspace) if e["status"] == "error"]
    assert [e["stage"] for e in errors].count("train") == 1, "the second attempt only says it again"
    stops = place.workspace / "results" / RUN / "hard_stops"
    assert json.loads((stops / "baseline_train.json").read_text())["code"] == "image_invalid"
    assert state(place.workspace)["status"] == "failed"
