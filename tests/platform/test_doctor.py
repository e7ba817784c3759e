"""The doctor as a whole: real measurements, probes that hang or die, and `snakemake doctor`."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from workflow_tools import REPOSITORY, clean_environment, snakemake, tree

from deft.doctor import measure
from deft.doctor.finding import BROKEN, OK, WARN
from deft.doctor.probes import PROBES, Probe, Surroundings
from deft.doctor.runner import examine
from deft.run.jobs import registered

pytestmark = pytest.mark.long

CHEAP = ("configuration", "limits", "threads", "workspace_disk", "file_system", "locks")


def say(row: str, before: str = "") -> list[str]:
    """Return a command that answers as a probe does."""
    return [sys.executable, "-c", f"print({before!r}); print('DEFT-FINDINGS ' + {row!r})"]


def test_a_probe_that_hangs_dies_or_babbles_costs_its_own_row_only():
    row = json.dumps([{"what": "fine", "state": "ok", "found": "here", "advice": ""}])
    kill = "import os; os.kill(os.getpid(), 11)"
    commands = {
        "hangs": [sys.executable, "-c", "import time; time.sleep(600)"],
        # Its child holds the pipe open: both must go.
        "hangs_in_a_child": ["sh", "-c", "sleep 600 & wait"],
        "dies": [sys.executable, "-c", kill],
        "raises": [sys.executable, "-c", "raise ValueError('of no use')"],
        "says_nothing": [sys.executable, "-c", ""],
        "babbles": say("[1]"),
        "is_missing": ["/nowhere/python"],
        "fine": say(row, before="a library's banner"),
    }
    probes = [Probe(name, lambda around: [], limit_s=20.0, hang=WARN) for name in commands]
    probes[0] = Probe("hangs", lambda around: [], limit_s=1.0, advice="look at NAME")
    probes[1] = Probe("hangs_in_a_child", lambda around: [], limit_s=1.0, hang=WARN)
    began = time.monotonic()
    found = examine(Surroundings("/nowhere"), probes, start=lambda probe: commands[probe.name])
    assert time.monotonic() - began < 300  # far from the 600 s of the sleepers
    rows = {finding.what: finding for finding in found}
    assert [finding.what for finding in found] == list(commands)
    assert rows["hangs"].state == BROKEN and "cut off" in rows["hangs"].found
    assert rows["hangs"].advice == "look at hangs"
    assert rows["hangs_in_a_child"].state == WARN
    assert "signal 11" in rows["dies"].found
    assert "of no use" in rows["raises"].found and "nothing" in rows["says_nothing"].found
    assert rows["babbles"].state == BROKEN and "started" in rows["is_missing"].found
    assert rows["fine"].state == OK


def test_inner_limits_are_shorter_than_the_outer_ones():
    """A program that hangs is named by its row; the runner is the last resort."""
    programs = {"slurm": 1, "conda": 3, "apptainer": 2, "docker": 2}
    for probe in PROBES:
        asked = programs.get(probe.name, 0)
        assert asked * measure.COMMAND_LIMIT_S < probe.limit_s, probe.name


def test_cheap_probes_on_this_machine(tmp_path):
    probes = [probe for probe in PROBES if probe.name in CHEAP]
    found = {f.what: f for f in examine(Surroundings(str(tmp_path)), probes)}
    assert str(tmp_path) in found["configuration"].found
    assert found["file locks"].state == OK and str(tmp_path) in found["file locks"].found
    assert list(tmp_path.iterdir()) == []  # nothing is left


def test_locks_that_bind_nobody_are_found(tmp_path, monkeypatch):
    assert measure.try_locks(tmp_path) == {"flock": "", "fcntl": ""}
    monkeypatch.setattr(fcntl, "flock", lambda handle, how: None)
    tried = measure.try_locks(tmp_path)
    assert tried["flock"] == "a second owner got the lock" and tried["fcntl"] == ""

    def refuse(handle, how):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    assert "No locks" in measure.try_locks(tmp_path)["fcntl"]
    assert list(tmp_path.iterdir()) == []
    assert "write" in measure.try_locks(tmp_path / "absent")


MOUNTS = """\
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 21 0:40 / /data rw shared:2 - nfs4 head:/data rw,vers=4.2
31 30 0:41 / /data/fast rw shared:3 - xfs /dev/vdb rw
32 21 0:42 / /my\\040disk rw - cifs //nas/share rw
33 21 0:43 / /data/fast rw - lustre mds:/fast rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/x", "ext4"),
        ("/data/line7", "nfs4"),
        ("/database", "ext4"),  # no folder of /data
        ("/data/fast/w", "lustre"),  # mounted over xfs
        ("/my disk/w", "cifs"),
    ],
)
def test_file_system_of_a_path(path, kind):
    assert measure.file_system(Path(path), MOUNTS) == kind


def test_file_system_without_proc():
    assert measure.file_system(Path("/x"), "") is None


def program(folder: Path, name: str, text: str) -> None:
    """Write an executable."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_programs_are_really_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    program(tmp_path, "conda", "echo conda 26.1.0")
    program(tmp_path, "mamba", "echo libmamba is missing >&2; exit 3")
    program(tmp_path, "apptainer", "exec sleep 600")
    program(tmp_path, "scontrol", 'test "$1" = ping && echo "Slurmctld(primary) at h is UP"')
    program(tmp_path, "docker", 'test "$1" = --version && echo Docker version 28')
    assert measure.tool("conda").version == "conda 26.1.0"
    assert measure.tool("mamba").error == "libmamba is missing"
    assert measure.tool("nowhere") is None
    assert "no answer in 0.5 s" in measure.tool("apptainer", 0.5).error
    assert measure.slurm_ping().text.endswith("is UP")
    assert measure.docker_engine() == (None, "no answer")
    program(tmp_path, "scontrol", "exec sleep 600")
    assert measure.slurm_ping(0.5).status is None


def test_folders_of_killed_trainings_are_told_from_those_of_living_ones(tmp_path):
    dead, living = tmp_path / "deft_train_dead", tmp_path / "deft_train_living"
    dead.mkdir()
    living.mkdir()
    command = [sys.executable, "-c", "input()", str(living / "job.json")]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        found = measure.training_folders(tmp_path, now=dead.stat().st_mtime + 7200)
        assert [Path(f.path) for f in found] == [dead] and round(found[0].age_h, 3) == 2
        process.communicate(b"\n")
    assert len(measure.training_folders(tmp_path)) == 2


def test_old_working_folders_of_a_run_are_found_unless_a_job_lives(tmp_path):
    run = tmp_path / "results" / "run_a"
    for name in (".onnx.x", ".restore_x", "best_model/.export.x", "best_model/.int8.x", ".jobs"):
        (run / name).mkdir(parents=True)
    later = time.time() + 25 * 3600
    assert measure.run_folders(tmp_path) == []  # younger than a day: perhaps of another machine
    names = {Path(found.path).name for found in measure.run_folders(tmp_path, later)}
    assert names == {".onnx.x", ".restore_x", ".export.x", ".int8.x"}
    with registered(run, "baseline", "infer"):
        assert measure.run_folders(tmp_path, later) == []


def test_runtimes_really_compute():
    assert measure.torch_pair()[2] == ""
    facts = measure.onnx("cpu")
    assert (facts.error, facts.used) == ("", "CPUExecutionProvider")


def test_two_builds_of_onnx_runtime_are_seen(monkeypatch):
    monkeypatch.setattr(measure, "version", lambda name: "1")
    assert measure.onnx("cpu").builds == ("onnxruntime", "onnxruntime-gpu")


def run_doctor(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(REPOSITORY / "scripts" / "doctor.py"), *args]
    env = clean_environment() | environment
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_command_line_gives_json_and_a_status(tmp_path):
    good = run_doctor("--only", "limits", "locks", "--json", "-", "--workspace", str(tmp_path))
    facts = json.loads(good.stdout)
    assert (good.returncode, facts["state"]) == (0, OK)
    assert [row["what"] for row in facts["findings"]] == ["limits", "file locks"]
    bad = run_doctor("--only", "configuration", "--problem", "kpi_invalid: x\n  do: y")
    assert bad.returncode == 1 and bad.stdout.startswith("BROKEN  configuration")
    file = tmp_path / "out.json"
    run_doctor("--only", "threads", "--json", str(file), OMP_WAIT_POLICY="ACTIVE")
    assert json.loads(file.read_text())["findings"][0]["state"] == WARN


@pytest.mark.parametrize(
    ("options", "status", "state"), [([], 0, WARN), (["--cluster"], 1, BROKEN)]
)
def test_a_silent_slurm_is_broken_only_where_jobs_go_there(tmp_path, options, status, state):
    program(tmp_path, "scontrol", "echo no controller >&2; exit 1")
    path = f"{tmp_path}:/usr/bin:/bin"
    done = run_doctor("--only", "slurm", "--json", "-", *options, PATH=path)
    assert (done.returncode, json.loads(done.stdout)["state"]) == (status, state)


def test_a_locked_out_limit_is_seen_from_inside(tmp_path):
    command = f"ulimit -n 200; exec {sys.executable} {REPOSITORY}/scripts/doctor.py --only limits"
    done = subprocess.run(
        ["bash", "-c", command],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "BROKEN  limits" in done.stdout and "ulimit -n" in done.stdout


@pytest.mark.workflow
def test_snakemake_doctor_without_workspace_and_with_a_wrong_configuration(tmp_path):
    nowhere = tmp_path / "nowhere"
    config = {"max_iteration": 3, "run": None}
    done = snakemake(nowhere, "doctor", config=config)
    assert done.returncode == 1
    assert "unknown configuration key 'max_iteration'" in done.stdout
    for what in ("torch pair", "ONNX Runtime", "file locks", "SLURM", "docker"):
        assert f" {what} " in done.stdout
    assert "Traceback" not in done.stdout and not nowhere.exists()
    # What is broken stands below the page that Snakemake prints, too.
    assert (
        "BROKEN  configuration"
        in done.stdout.split("WorkflowError")[-1] + (done.stdout.split("Error in rule doctor")[-1])
    )


@pytest.mark.workflow
def test_snakemake_doctor_leaves_a_run_alone(tmp_path):
    workspace = tmp_path / "workspace"
    run = workspace / "results" / "run_a"
    run.mkdir(parents=True)
    (workspace / "results" / "current_run").write_text("run_a\n")
    (run / "deft_state.json").write_text('{"status": "running", "iterations": {}}')
    before = tree(workspace)
    done = snakemake(workspace, "doctor", config={"run": None, "kpi": "nonsense"})
    assert done.returncode == 1 and "kpi_invalid" in done.stdout
    after = tree(workspace)
    assert {k: after[k] for k in before} == before
    assert set(after) - set(before) == {"logs/doctor.log", "logs/doctor.json"}
    facts = json.loads((workspace / "logs" / "doctor.json").read_text())
    assert facts["state"] == BROKEN and facts["findings"][0]["what"] == "configuration"
