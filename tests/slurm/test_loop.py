"""The whole loop on a real cluster: by one job a stage, and inside one allocation."""

from __future__ import annotations

import glob
import re
from functools import partial
from pathlib import Path

import pytest
from cluster import Cluster, until
from guard import slurm
from slurm_tools import HEAVY, METRICS, WATCHDOG_S, Workplace, node_of, rule_of, state_of
from tiny_workspace import make_tiny_workspace
from workflow_tools import (
    CONFIG,
    REPOSITORY,
    RUN,
    load,
    log_entries,
    run_to_end,
    snakemake,
    state,
    succeed,
)

pytestmark = [pytest.mark.slurm, pytest.mark.workflow]

AT_WORK = ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING")
WITHOUT_GPU = {"measure_parts"}  # a job of some minutes on CPUs
# Rules that no run has unless a person asks for them.
WHEN_ASKED = {
    "restore_weights",
    "encoder_selftest",
    "noise_floor",
    "rank_labels",
    "accept",
    "score",
}
SAME = ("threshold", "far_pct", "checkpoint_sha256", "bounds", "iteration")


def test_the_loop_runs_by_jobs_and_ends_in_the_local_results(
    place: Workplace, tmp_path: Path
) -> None:
    profile = place.profile(slurm_partition="gpu", slurm_init_seconds_before_status_checks=8)
    loop = place.snakemake(profile=profile, max_iterations=1)
    text = loop.succeed()
    assert f"report: {place.workspace}" in text

    jobs = loop.submitted()
    rules = [rule_of(number) for number in jobs]
    wanted = {*HEAVY, *WITHOUT_GPU} - WHEN_ASKED
    assert set(rules) == wanted, "each heavy rule is a job, and no other is"
    assert (rules.count("train"), rules.count("infer"), rules.count("mine")) == (2, 2, 1)
    assert {state_of(number) for number in jobs} == {"COMPLETED"}
    on_gpu = [n for n, rule in zip(jobs, rules, strict=True) if rule not in WITHOUT_GPU]
    assert {node_of(number) for number in on_gpu} == {"gpu1"}, "each asks for the GPU"

    local = make_tiny_workspace(tmp_path / "local", base=12, pool=60)
    succeed(snakemake(local, config={"max_iterations": 1, "device": "auto"}))
    on_cluster, here = place.load("best_model.json"), load(local, "best_model.json")
    assert [on_cluster[name] for name in SAME] == [here[name] for name in SAME]
    stages = [(e["iter"], e["stage"]) for e in log_entries(place.workspace)]
    assert sorted(stages) == sorted((e["iter"], e["stage"]) for e in log_entries(local))
    assert state(place.workspace)["status"] == "complete"


@pytest.mark.parametrize(
    ("request_", "asked"),
    [("gpu", "gres:gpu:1"), ("gres", "gres:gpu:1"), ("gres:fake", "gres:gpu:fake:1")],
)
def test_one_value_says_how_a_gpu_is_asked_for(place: Workplace, request_: str, asked: str) -> None:
    profile = place.profile(gpu_request=request_, slurm_partition="gpu")
    command = place.snakemake(METRICS, profile=profile, training_epochs=30)
    number = command.job()
    shown = slurm("scontrol", "-o", "show", "job", str(number))
    command.succeed()
    field = "TresPerJob" if request_ == "gpu" else "TresPerNode"
    assert re.search(rf"{field}=(\S+)", shown).group(1) == asked
    for job in command.submitted():
        assert node_of(job) == "gpu1" and state_of(job) == "COMPLETED"


def test_a_cpu_run_asks_for_no_gpu(place: Workplace) -> None:
    command = place.snakemake(METRICS, profile=place.profile(), device="cpu")
    command.succeed()
    assert {node_of(number) for number in command.submitted()} <= {"cpu1", "cpu2"}


def test_a_profile_without_its_gpu_request_is_told_of(place: Workplace) -> None:
    command = place.snakemake(METRICS, profile=place.profile(gpu_request=None))
    assert "no job asks for a GPU" in command.succeed()


def allocate(workspace: Path, folder: Path, *more: str, **config: object) -> int:
    """Submit the loop as one job; returns its number. `more`: further options of sbatch."""
    values = {**CONFIG, "max_iterations": 1, "device": "auto", "workspace": workspace, **config}
    options = ["-p", "gpu", "--gpus=1", "--cpus-per-task=1", "--mem=6000", "--time=30", *more]
    # Shell lines are asked for so that Snakemake says all else too, what it was given first.
    script = [str(REPOSITORY / "profiles/slurm/allocation.sh"), "--printshellcmds", "--config"]
    words = ["sbatch", "--parsable", *options, f"--output={folder}/%j.log", *script]
    words += [f"{key}={value}" for key, value in values.items()]
    return int(succeed(run_to_end(words, REPOSITORY)))


def log_of(number: int, folder: Path) -> str:
    """Return what a job printed so far; "" before it runs."""
    path = folder / f"{number}.log"
    return path.read_text(errors="replace") if path.is_file() else ""


def end_of(number: int, folder: Path) -> str:
    """Wait for a job's end and return its log."""
    until(lambda: state_of(number) not in AT_WORK, "its end", WATCHDOG_S)
    return log_of(number, folder)


def while_at_work(number: int, folder: Path, holds, what: str) -> None:
    """Wait for what a job is to do; its end is the end of the wait."""

    def look() -> bool:
        if found := holds():
            return bool(found)
        state = state_of(number)
        assert state in AT_WORK, f"{state} before {what}:\n{log_of(number, folder)[-4000:]}"
        return False

    until(look, what, WATCHDOG_S)


# What a shell brings along: sbatch hands it on, or keeps it back.
@pytest.mark.parametrize("more", [[], ["--export=NONE"]], ids=["this-shell", "no-shell"])
def test_the_loop_in_one_allocation(cluster: Cluster, tmp_path: Path, more: list[str]) -> None:
    workspace = make_tiny_workspace(tmp_path / "workspace", base=12, pool=60)
    before = cluster.jobs().keys()
    number = allocate(workspace, tmp_path, *more)
    text = end_of(number, tmp_path)
    assert state_of(number) == "COMPLETED", text[-4000:]
    assert cluster.jobs().keys() - before == {number}, "one job in all"
    (line,) = re.findall(r"Provided resources: (.+)", text)
    assert "Provided cores: 1 " in text, "the allocation's, not the machine's"
    assert re.search(r"\bgpu\W.*?\b1\b", line) and re.search(r"\bmem_mb\W.*?\b6000\b", line), line
    assert load(workspace, "best_model.json")["iteration"] in ("baseline", "iter1")
    assert state(workspace)["status"] == "complete"


def test_an_allocation_that_ends_goes_on_in_the_next(cluster: Cluster, tmp_path: Path) -> None:
    workspace = make_tiny_workspace(tmp_path / "workspace", base=12, pool=60)
    config = {"max_iterations": 0, "training_epochs": 300}
    first = allocate(workspace, tmp_path, **config)
    epochs = workspace / "results" / RUN / "baseline"
    seen = partial(glob.glob, f"{epochs}/train*/*epoch_00[1-9]*")
    while_at_work(first, tmp_path, seen, "the first epochs")
    slurm("scancel", "--batch", "--signal=TERM", str(first))  # as SLURM does before the limit
    end_of(first, tmp_path)
    assert state_of(first) == "FAILED"
    assert not (epochs / "train/weights.json").exists()

    second = allocate(workspace, tmp_path, **config)
    text = end_of(second, tmp_path)
    assert state_of(second) == "COMPLETED", text[-4000:]
    assert len(load(workspace, "baseline/train/weights.json")["files"]) == 300


def test_the_allocation_script_says_where_it_belongs(cluster: Cluster, tmp_path: Path) -> None:
    script = str(REPOSITORY / "profiles/slurm/allocation.sh")
    here = run_to_end(["bash", script], tmp_path)
    assert here.returncode != 0 and "submit this script with sbatch" in here.stdout
    words = ["sbatch", "--parsable", "--mem=500", "--cpus-per-task=1", "--wait"]
    done = run_to_end([*words, f"--output={tmp_path}/%j.log", script], tmp_path)
    number = int(done.stdout.split()[0])
    assert "is not the repository" in (tmp_path / f"{number}.log").read_text()
