"""The main process dies, or is not alone: nothing is ever written by two."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cluster import until
from guard import slurm
from slurm_tools import METRICS, Workplace, rule_of, sleep_until_written, state_of
from workflow_tools import RUN, log_entries

pytestmark = [pytest.mark.slurm, pytest.mark.workflow]

EPOCHS = 150
LOCKED = "Directory cannot be locked"


def kill_while_training(place: Workplace, profile: Path, epochs: int = EPOCHS) -> int:
    """Kill Snakemake alone while its training runs on the cluster; returns the orphan's number."""
    command = place.snakemake(METRICS, profile=profile, device="cpu", training_epochs=epochs)
    orphan = command.job()
    sleep_until_written(place.workspace / "results" / RUN / ".jobs/baseline_train.json")
    command.kill()
    assert state_of(orphan) == "RUNNING", "the orphan goes on"
    return orphan


def test_an_orphan_is_cancelled_before_its_second_copy_starts(place: Workplace) -> None:
    profile = place.profile()
    orphan = kill_while_training(place, profile)

    # Without the one command: the lock, and where somebody takes it away, the job's own note.
    again = place.snakemake(METRICS, profile=profile, device="cpu", training_epochs=EPOCHS)
    assert LOCKED in again.fail() and again.submitted() == []
    assert state_of(orphan) == "RUNNING"

    resumed = place.resume(profile, METRICS)
    until(lambda: f"cancelled SLURM job {orphan}" in resumed.text(), "the orphan's end", 120)
    assert state_of(orphan) == "CANCELLED", "gone before anything is submitted"
    assert resumed.submitted() == []
    text = resumed.succeed()
    trainings = [n for n in resumed.submitted() if rule_of(n) == "train"]
    assert len(trainings) == 1 and orphan not in trainings
    assert text.index("cancelled SLURM job") < text.index("workspace ")
    good = [(e["iter"], e["stage"]) for e in log_entries(place.workspace) if e["status"] == "ok"]
    assert good.count(("baseline", "train")) == 1
    assert len(place.load("baseline/train/weights.json")["files"]) == EPOCHS


def test_an_unlocked_run_does_not_train_beside_the_orphan(place: Workplace) -> None:
    profile = place.profile(retries=0)
    orphan = kill_while_training(place, profile, epochs=2000)
    config = {"device": "cpu", "training_epochs": 2000}
    words = place.snakemake(METRICS, "--unlock", profile=profile, **config)
    words.succeed()
    beside = place.snakemake(METRICS, profile=profile, **config)
    text = beside.fail()
    assert "still being worked on" in text and re.search(r"make .*resume WORKSPACE=", text)
    assert state_of(orphan) == "RUNNING", "the orphan is left alone"


def test_a_job_that_still_waits_is_found_by_its_name(place: Workplace) -> None:
    slurm("scontrol", "update", "PartitionName=cpu", "State=DOWN")
    try:
        profile = place.profile()
        command = place.snakemake(METRICS, profile=profile, device="cpu")
        until(lambda: command.submitted(), "the submission", 120)
        (waiting,) = command.submitted()
        command.kill()
        assert state_of(waiting) == "PENDING"
        options = ["--parsable", "--job-name=deft_other", "--mem=100", "--output=/dev/null"]
        foreign = slurm("sbatch", *options, "--wrap=true").strip()
        resumed = place.resume(profile, METRICS)
        until(lambda: state_of(waiting) == "CANCELLED", "the orphan's end", 120)
        assert state_of(int(foreign)) == "PENDING", "another's job of a like name is left alone"
    finally:
        slurm("scontrol", "update", "PartitionName=cpu", "State=UP")
    resumed.succeed()


def test_resume_leaves_a_living_command_alone(place: Workplace) -> None:
    profile = place.profile()
    command = place.snakemake(METRICS, profile=profile, device="cpu", training_epochs=2000)
    number = command.job()
    text = place.resume(profile, METRICS).fail()
    assert "Snakemake itself still works" in text and str(command.process.pid) in text
    assert state_of(number) == "RUNNING"
    command.kill()


def test_two_commands_on_one_run_and_two_runs_in_one_workspace(place: Workplace) -> None:
    profile = place.profile()
    first = place.snakemake(METRICS, profile=profile, device="cpu", training_epochs=60)
    first.job()
    second = place.snakemake(METRICS, profile=profile, device="cpu", training_epochs=60)
    assert LOCKED in second.fail() and second.submitted() == []

    other = METRICS.replace(RUN, "run_b")
    beside = place.snakemake(other, profile=profile, device="cpu", run="run_b")
    beside.succeed()
    first.succeed()
    assert place.load("baseline/metrics.json") and place.load("baseline/metrics.json", "run_b")
    for run in (RUN, "run_b"):
        entries = log_entries(place.workspace, run)
        assert [e["seq"] for e in entries] == list(range(1, len(entries) + 1))
        assert {e["status"] for e in entries} == {"ok"}
