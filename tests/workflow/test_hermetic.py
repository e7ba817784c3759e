"""A stage reads what its rule declares, nothing else: it makes the same bytes without the rest.

Each stage of the finished run is started once more, by the command line that Snakemake recorded, in
a folder that holds its declared inputs and the user's own files that it may open; its environment
has none of this project's variables. What it makes is compared with the run, clocks aside.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from base64 import b64decode
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from workflow.test_reproducible import COMPARED, normal
from workflow_tools import REPOSITORY, RUN, run_to_end

pytestmark = [pytest.mark.workflow, pytest.mark.long]

SPEC, TABLES, KPI, POOL = "specs", "train", "kpi", "augmentation"
# The user's own files that a stage may open beside its declared inputs.
USERS = {
    "stage_pool": (SPEC, TABLES, KPI, POOL),
    "embed_shard": (SPEC, POOL),
    "embed_pool": (),
    "train": (SPEC, TABLES, KPI, POOL),
    "infer": (SPEC, KPI),
    "evaluate": (),
    "decide": (),
    "measure_parts": (SPEC, TABLES, KPI),
    "rca": (SPEC, TABLES, KPI, POOL),
    "route": (),
    "ingest": (POOL,),
    "mine": (SPEC, TABLES, KPI, POOL),
    "assemble": (TABLES, KPI),
    "validate": (SPEC, TABLES, KPI, POOL),
    "export_best": (SPEC, KPI),
}
# Rules that are about the run as a whole: they read whatever it has written down.
WHOLE_RUN = {
    "gate": "reads every input of the user, and the approval beside it",
    "phase_report": "a page of all that a phase has",
    "phase_summary": "speaks of the run's best phase and of its pool too",
    "finish": "hand-off and lab record speak of the whole run, its state and its log",
}
# What a declared file stands for: names that only the file itself tells, so no rule can list them.
STANDS_FOR = {
    "preflight/gate.json": ("preflight/checks.json",),
    "train/weights.json": ("train/*.pth",),
    "metrics.json": ("train/*.pth",),  # of a phase: the weights that it chose
}
# What a stage writes beside its outputs: a failed job loses those, an earlier version had none.
BESIDE = re.compile(
    rf"results/{RUN}/(deft_state\.json.*|loop_log\.jsonl|logs/.*|\.jobs/.*|\.[a-z_]+\.lock)"
    r"|.*/train/(.*\.pth|train\.log)|.*/train_resume/.*|.*/routing_results/\w+/routing\.json"
    r"|.*/source_embed\.log|.*/rca_images/.*"
    r"|.*/best_model/(read_picture\.py|model\.int8\.onnx)"
    r"|results/kept_pictures|results/encoder_selftest/.*|.*/tao/.*|.*/rca_results/\w+/tao\.json"
)


@dataclass
class Job:
    """A job as Snakemake recorded it."""

    rule: str
    command: str
    inputs: list[str]
    outputs: list[str] = field(default_factory=list)


def recorded_jobs(workspace: Path) -> list[Job]:
    """Return the jobs of the finished run, from what Snakemake keeps of each output."""
    found: dict[str, Job] = {}
    for path in sorted((workspace / ".snakemake/metadata").iterdir()):
        told = json.loads(path.read_text(encoding="utf-8"))
        job = found.setdefault(told["shellcmd"], Job(told["rule"], told["shellcmd"], told["input"]))
        job.outputs.append(b64decode(path.name).decode())
    return list(found.values())


def job_of(workspace: Path, rule: str, part: str = "") -> Job:
    """Return the last job of a rule, which has the most before it."""
    jobs = [j for j in recorded_jobs(workspace) if j.rule == rule and part in j.outputs[0]]
    return max(jobs, key=lambda job: sorted(job.outputs))


def only_inputs(workspace: Path, job: Job, folder: Path) -> Path:
    """Make a workspace that has what the job declares, what that stands for, the user's files."""
    names = set(job.inputs)
    for name in job.inputs:
        for of, patterns in STANDS_FOR.items():
            owner = workspace / name.removesuffix(of)
            if name.endswith(f"/{of}") and "rca_results" not in name:
                names |= {str(p.relative_to(workspace)) for q in patterns for p in owner.glob(q)}
    for name in sorted(names):
        source, target = workspace / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        elif source.is_file():
            shutil.copy2(source, target)
    for name in USERS[job.rule]:
        shutil.copytree(workspace / name, folder / name, symlinks=True)
    (folder / f"results/{RUN}").mkdir(parents=True, exist_ok=True)
    return folder


def run_again(job: Job, folder: Path) -> None:
    """Start the job's own command line in a folder; it must end well."""
    values = {"$DEFT_HOME": str(REPOSITORY), "$DEFT_EMBEDDING_CACHE": "off"}
    text = job.command
    for name, value in values.items():
        text = text.replace(name, value)
    command = [sys.executable if word == "python" else word for word in shlex.split(text)]
    done = run_to_end(command, folder)
    assert done.returncode == 0, f"{job.rule}: {done.stdout[-3000:]}"


def files_below(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir()}


def content(path: Path, workspace: Path) -> bytes:
    return normal(path, workspace) if path.name.endswith(COMPARED) else path.read_bytes()


def same_again(workspace: Path, job: Job, folder: Path) -> None:
    """Run a job where nothing else is, and compare what it made with the finished run."""
    only_inputs(workspace, job, folder)
    before = files_below(folder)
    run_again(job, folder)
    for name in job.outputs:
        for path in [folder / name, *sorted((folder / name).rglob("*"))]:
            theirs = workspace / path.relative_to(folder)
            if path.is_file() and theirs.exists():  # a shard is gone after the join
                assert content(path, folder) == content(theirs, workspace), path.name
        assert (folder / name).exists(), f"{job.rule} did not write {name}"
    inside = tuple(f"{name}/" for name in job.outputs)
    more = files_below(folder) - before - set(job.outputs)
    undeclared = sorted(n for n in more if not BESIDE.fullmatch(n) and not n.startswith(inside))
    assert undeclared == [], f"{job.rule} writes what its rule does not declare"


def test_every_stage_is_looked_at(finished: Path) -> None:
    rules = {job.rule for job in recorded_jobs(finished)}
    assert rules == USERS.keys() | WHOLE_RUN.keys()


@pytest.mark.parametrize("rule", sorted(USERS.keys() - {"embed_pool", "embed_shard", "decide"}))
def test_a_stage_needs_what_its_rule_declares(finished: Path, tmp_path: Path, rule: str) -> None:
    same_again(finished, job_of(finished, rule), tmp_path / "alone")


def test_the_baselines_training_needs_the_users_files(finished: Path, tmp_path: Path) -> None:
    same_again(finished, job_of(finished, "train", "/baseline/"), tmp_path / "alone")


@pytest.mark.parametrize("question", ["kpi", "pool"])
def test_a_decision_needs_what_it_decides_by(finished: Path, tmp_path: Path, question: str) -> None:
    same_again(finished, job_of(finished, "decide", f"/{question}.json"), tmp_path / "alone")


def test_a_shard_and_the_joined_pool(finished: Path, tmp_path: Path) -> None:
    """The run keeps no shard; the one that is made here is joined here."""
    shard, joined = (job_of(finished, rule) for rule in ("embed_shard", "embed_pool"))
    same_again(finished, shard, tmp_path / "shard")
    with_shard = tmp_path / "finished"
    shutil.copytree(finished, with_shard, copy_function=os.link, symlinks=True)
    for name in shard.outputs:
        target = with_shard / name
        target.parent.mkdir(exist_ok=True)
        shutil.copy2(tmp_path / "shard" / name, target)
    same_again(with_shard, joined, tmp_path / "joined")
