"""GPU requests, SLURM jobs by name, and the notes that tell whose they are; SLURM is a stand-in."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deft.core.errors import HardStop
from deft.run import slurm
from deft.run.jobs import (
    AlreadyRunning,
    commands,
    end_orphans,
    is_alive,
    note_command,
    orphans,
    registered,
)

REPOSITORY = Path(__file__).resolve().parents[2]
RUN = "run_a"
QUEUE = """\
11|deft_mine|RUNNING
12|deft_mine|PENDING
13|deft_mine|COMPLETED
14|deft_other|RUNNING
15|deft_mine|COMPLETING
16|deft_mine|SUSPENDED
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A squeue that prints a file, and a scancel that takes its jobs out of it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    queue = folder / "queue"
    queue.write_text(QUEUE)
    programs = {
        "squeue": f"""import sys
lines = [line.split("|") for line in open({str(queue)!r}).read().splitlines()]
if "-j" in sys.argv:
    number = sys.argv[sys.argv.index("-j") + 1]
    found = [line for line in lines if line[0] == number]
    if not found:
        sys.exit("slurm_load_jobs error: Invalid job id specified")
    print(found[0][2])
else:
    print(*["|".join(line) for line in lines], sep="\\n")
""",
        "scancel": f"""import sys
path = {str(queue)!r}
kept = [line for line in open(path) if line.split("|")[0] not in sys.argv[1:]]
open(path, "w").writelines(kept)
""",
    }
    for name, text in programs.items():
        (folder / name).write_text(f"#!{sys.executable}\n{text}")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    return queue


def broken(cluster: Path, text: str) -> None:
    """Let squeue fail."""
    (cluster.parent / "squeue").write_text(f"#!/bin/sh\necho '{text}' >&2\nexit 1\n")


@pytest.mark.parametrize(
    ("count", "request_", "asked"),
    [
        (0, None, (0, "")),
        (1, None, (1, "")),
        (0, "gres", (0, "")),
        (2, "gpu", (2, "")),
        (2, "gres", (0, "gpu:2")),
        (1, "gres:a100", (0, "gpu:a100:1")),
        (1, "gres:a100.40gb", (0, "gpu:a100.40gb:1")),
    ],
)
def test_gpu_request(count: int, request_: str | None, asked: tuple[int, str]) -> None:
    assert slurm.gpu_resources(count, request_) == asked


@pytest.mark.parametrize("request_", ["", "GPU", "gres:", "gpu:a100", "gres:a 100", "gres:a;b", 1])
def test_an_unknown_gpu_request_is_a_hard_stop(request_: object) -> None:
    for count in (0, 1):
        with pytest.raises(HardStop) as caught:
            slurm.gpu_resources(count, request_)
        assert caught.value.code == "config_invalid"


def test_the_name_stands_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("host: vm\nSLURM run ID: deft_0a-1b\nBuilding DAG of jobs...\n")
    assert slurm.name_in_log(log) == "deft_0a-1b"
    log.write_text("Building DAG of jobs...\n")
    assert slurm.name_in_log(log) is None
    assert slurm.name_in_log(tmp_path / "absent") is None


def test_active_jobs_are_all_that_may_still_write(cluster: Path) -> None:
    assert list(slurm.active({"deft_mine"})) == ["11", "12", "15", "16"]
    assert slurm.active(set()) == {}
    assert slurm.is_active("11") is True and slurm.is_active("13") is False
    assert slurm.is_active("99") is False, "forgotten by SLURM"


def test_cancel_takes_the_named_jobs_and_no_other(cluster: Path) -> None:
    assert slurm.cancel({"deft_mine"}) == ["11", "12", "15", "16"]
    assert cluster.read_text().splitlines() == ["13|deft_mine|COMPLETED", "14|deft_other|RUNNING"]
    assert slurm.cancel({"deft_mine"}) == [] and slurm.cancel(set()) == []


def test_a_job_that_will_not_go_is_told(cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cluster.parent / "scancel").write_text("#!/bin/sh\n")
    monkeypatch.setattr(slurm, "POLL_S", 0.01)
    with pytest.raises(slurm.Silent, match="11, 12, 15, 16 were cancelled"):
        slurm.cancel({"deft_mine"}, gone_s=0.05)


def test_a_silent_slurm_is_no_empty_queue(cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(cluster, "Unable to contact slurm controller")
    with pytest.raises(slurm.Silent, match="Unable to contact"):
        slurm.cancel({"deft_mine"})
    assert slurm.is_active("11") is None
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(slurm.Silent, match="no squeue"):
        slurm.active({"deft_mine"})


# --- notes ----------------------------------------------------------------------------------------


def elsewhere(run_dir: Path, job: str | None) -> Path:
    """Write the note of a training on another host."""
    path = run_dir / ".jobs/baseline_train.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"host": "node7", "pid": 1, "started": 0.0, "slurm_job": job}))
    return path


def test_a_note_names_its_slurm_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    with registered(tmp_path, "baseline", "train"):
        note = json.loads((tmp_path / ".jobs/baseline_train.json").read_text())
    assert note["slurm_job"] == "77" and note["host"] == socket.gethostname()


def test_a_job_on_another_node_is_alive_as_long_as_slurm_says_so(
    tmp_path: Path, cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = elsewhere(tmp_path, "11")
    with pytest.raises(AlreadyRunning, match="SLURM job 11 on node7"):
        with registered(tmp_path, "baseline", "train"):
            pass
    assert [path for path, _ in orphans(tmp_path)] == [note]
    with pytest.raises(AlreadyRunning, match="scancel 11"):
        end_orphans(tmp_path)
    # The same job, started again by SLURM on this node after it lost the other.
    monkeypatch.setenv("SLURM_JOB_ID", "11")
    assert not is_alive(json.loads(note.read_text()))
    with registered(tmp_path, "baseline", "train"):
        pass
    monkeypatch.delenv("SLURM_JOB_ID")
    for ended in ("13", "99", None):
        assert not is_alive(json.loads(elsewhere(tmp_path, ended).read_text()))
    assert end_orphans(tmp_path) == []


def test_a_silent_slurm_does_not_say_that_a_job_has_ended(
    tmp_path: Path, cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = json.loads(elsewhere(tmp_path, "11").read_text())
    broken(cluster, "Unable to contact slurm controller")
    assert is_alive(left)
    with pytest.raises(AlreadyRunning, match="SLURM job 11 on node7"):
        with registered(tmp_path, "baseline", "train"):
            pass
    monkeypatch.setenv("PATH", "/nowhere")
    assert is_alive(left), "a machine without SLURM's commands knows nothing of it"
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    assert not is_alive(left), "a job inside a container: Snakemake saw to it that it is alone"


def test_commands_are_noted_by_run(tmp_path: Path) -> None:
    (tmp_path / ".snakemake").mkdir()
    assert commands(tmp_path, RUN) == []
    for run, name in ((RUN, "deft_1"), ("run_b", "deft_2"), (RUN, None)):
        note_command(tmp_path, run, name)
    notes = commands(tmp_path, RUN)
    assert [note["slurm_name"] for note in notes] == ["deft_1", None]
    assert all(is_alive(note) for note in notes), "this process"


# --- resume ---------------------------------------------------------------------------------------


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """A workspace whose last command, with jobs named deft_mine, has ended."""
    workspace = tmp_path / "workspace"
    (workspace / "results" / RUN).mkdir(parents=True)
    (workspace / "results/current_run").write_text(RUN)
    (workspace / ".snakemake").mkdir()
    note(workspace, pid=2**22 + 1)
    return workspace


def note(workspace: Path, **changes: object) -> None:
    """Write the note of a command."""
    facts = {"run": RUN, "host": socket.gethostname(), "pid": 1, "started": 0.0}
    facts |= {"slurm_name": "deft_mine", **changes}
    (workspace / ".snakemake/deft_commands.jsonl").write_text(json.dumps(facts) + "\n")


def resume(workspace: Path) -> subprocess.CompletedProcess[str]:
    """End the orphans, without going on."""
    command = [sys.executable, str(REPOSITORY / "scripts/resume.py"), "--workspace", str(workspace)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_resume_cancels_the_jobs_of_its_run_alone(left: Path, cluster: Path) -> None:
    done = resume(left)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"cancelled SLURM job {n}" for n in (11, 12, 15, 16)]
    assert "14|deft_other|RUNNING" in cluster.read_text()
    note(left, run="run_b", slurm_name="deft_other", pid=2**22 + 1)
    assert resume(left).stdout.splitlines() == ["no orphan found"]


def test_resume_does_not_go_on_blindly(left: Path, cluster: Path) -> None:
    broken(cluster, "Unable to contact slurm controller")
    done = resume(left)
    assert done.returncode == 1 and "not resumed" in done.stderr and "Unable" in done.stderr
    assert "Traceback" not in done.stderr
    note(left, slurm_name=None)
    assert resume(left).returncode == 0, "a run without SLURM jobs does not ask SLURM"


def test_resume_leaves_a_living_command_alone(left: Path, cluster: Path) -> None:
    import psutil

    mine = psutil.Process()
    note(left, pid=mine.pid, started=mine.create_time())
    done = resume(left)
    assert done.returncode == 1 and f"process {mine.pid}" in done.stderr
    assert cluster.read_text() == QUEUE


def test_resume_says_that_the_last_command_ran_elsewhere(left: Path, cluster: Path) -> None:
    note(left, host="login2", pid=5)
    done = resume(left)
    assert "the last command ran on login2 (process 5)" in done.stdout and done.returncode == 0


def test_resume_leaves_a_command_in_another_allocation_alone(left: Path, cluster: Path) -> None:
    note(left, host="node7", pid=5, slurm_job="14", slurm_name=None)
    done = resume(left)
    assert done.returncode == 1 and "still works" in done.stderr and "scancel 14" in done.stderr
    assert cluster.read_text() == QUEUE
    note(left, host="node7", pid=5, slurm_job="13", slurm_name=None)
    assert resume(left).returncode == 0, "that allocation has ended"
    broken(cluster, "Unable to contact slurm controller")
    assert resume(left).returncode == 1, "nobody knows"


def test_resume_does_not_cancel_a_whole_allocation(left: Path, cluster: Path) -> None:
    elsewhere(left / "results" / RUN, "14")
    done = resume(left)
    assert done.returncode == 1 and "scancel 14" in done.stderr
    assert "14|deft_other|RUNNING" in cluster.read_text()
