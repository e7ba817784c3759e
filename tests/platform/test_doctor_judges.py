"""What the doctor thinks of given facts: each judge in each state, with its piece of advice."""

from __future__ import annotations

from math import inf

import pytest

from deft.core.hardware import Gpu
from deft.doctor import judge_devices as devices
from deft.doctor import judge_machine as machine
from deft.doctor import judge_software as software
from deft.doctor.finding import BROKEN, OK, WARN, as_json, as_table, worst
from deft.doctor.judge_devices import CPU_PROVIDER, CUDA_PROVIDER, Cuda, Onnx
from deft.doctor.judge_machine import GIB, MIB, Leftover
from deft.doctor.judge_software import Ping, Tool
from deft.settings.environments import Package

CARD = Gpu(0, "NVIDIA A40", 44.3, 44.0)
BUSY = Gpu(1, "NVIDIA A40", 44.3, 3.0)
WORKS = Cuda("2.14.1", "13.0", True, ("cuda:0",))
BLIND = Cuda("2.14.1", "13.0", False)
ORT = Onnx("1.31.1", ("onnxruntime",), (CPU_PROVIDER,), CPU_PROVIDER)
ORT_GPU = Onnx("1.31.1", ("onnxruntime-gpu",), (CUDA_PROVIDER, CPU_PROVIDER), CUDA_PROVIDER)
NUMPY = Package("numpy", "2.4.6", "numpy")
FAISS = Package("faiss-cpu", "1.15.1", "faiss", gpu=("faiss-gpu-cu12", "1.14.1"))
UP = "Slurmctld(primary) at head is UP"

CASES = [
    (machine.shared_memory(8 * GIB, 7 * GIB), OK, "8.0 GiB"),
    (machine.shared_memory(64 * MIB, 64 * MIB), WARN, "--shm-size"),
    (machine.shared_memory(8 * GIB, MIB), BROKEN, "1 MiB free"),
    (machine.shared_memory(8 * GIB, GIB, "Permission denied"), BROKEN, "mode 1777"),
    (machine.shared_memory(None, None, "No such file"), BROKEN, "tmpfs"),
    (machine.limits(1024, 8 * MIB, inf, 1), OK, "no limit"),
    (machine.limits(512, inf, inf, 0), WARN, "ulimit -n"),
    (machine.limits(64, inf, inf, 0), BROKEN, "ulimit -n"),
    (machine.limits(4096, inf, 512, 0), WARN, "ulimit -u"),
    (machine.limits(4096, inf, 100, 0), BROKEN, "ulimit -u"),
    (machine.limits(4096, 8 * MIB, inf, 2), WARN, "ulimit -l"),
    (machine.disk("workspace", "/w", 100 * GIB, 10**6, 10**6), OK, "100.0 GiB"),
    (machine.disk("workspace", "/w", 100 * GIB, 0, 0), OK, "100.0 GiB"),  # inodes are not counted
    (machine.disk("workspace", "/w", 5 * GIB, 10**6, 10**6), WARN, "move the workspace"),
    (machine.disk("workspace", "/w", 100 * MIB, 10**6, 10**6), BROKEN, "100 MiB"),
    (machine.disk("workspace", "/w", 100 * GIB, 10**6, 20_000), WARN, "a picture"),
    (machine.disk("workspace", "/w", 100 * GIB, 10**6, 3), BROKEN, "3 free inodes"),
    (machine.disk("temp", "/tmp", 2 * GIB, 0, 0), OK, "/tmp"),
    (machine.disk("temp", "/tmp", 500 * MIB, 0, 0), WARN, "TMPDIR"),
    (machine.disk("temp", "/tmp", MIB, 0, 0), BROKEN, "TMPDIR"),
    (machine.locks("/w", {"flock": "", "fcntl": ""}), OK, "refuse"),
    (machine.locks("/w", {"flock": "", "fcntl": "No locks available"}), WARN, "POSIX"),
    (machine.locks("/w", {"flock": "a second owner", "fcntl": ""}), BROKEN, "two commands"),
    (machine.locks("/w", {"write": "Read-only file system"}), BROKEN, "writable"),
    (machine.file_system("/w", "ext4"), OK, "ext4"),
    (machine.file_system("/w", None), OK, "unknown"),
    (machine.file_system("/w", "nfs4"), OK, "latency-wait"),
    (machine.file_system("/w", "fuse.sshfs"), WARN, "slow"),
    (machine.threads({}, 8), OK, "unset"),
    (machine.threads({"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "8,2"}, 8), OK, "PASSIVE"),
    (machine.threads({"OMP_WAIT_POLICY": "active"}, 8), WARN, "unset OMP_WAIT_POLICY"),
    (machine.threads({"GOMP_SPINCOUNT": "infinite"}, 8), WARN, "unset GOMP_SPINCOUNT"),
    (machine.threads({"KMP_BLOCKTIME": "infinite"}, 8), WARN, "unset KMP_BLOCKTIME"),
    (machine.threads({"OMP_NUM_THREADS": "16"}, 8), WARN, "8 or less"),
    (machine.leftovers([]), OK, "no folder"),
    (
        machine.leftovers([Leftover("/tmp/a b", 30.2)]),
        WARN,
        "rm -r '/tmp/a b'",
    ),
    (devices.torch_pair("2.14.1", "0.29.2"), OK, "an operator ran"),
    (devices.torch_pair("2.14.1", "0.28", "nms does not exist"), BROKEN, "from one list"),
    (devices.cuda("auto", "580.1", 1, WORKS), OK, "ran on cuda:0"),
    (devices.cuda("auto", None, 0, BLIND), OK, "on the CPU"),
    (devices.cuda("cpu", "580.1", 1, BLIND), OK, "device: cpu"),
    (devices.cuda("cuda", None, 0, BLIND), WARN, "login node"),
    (devices.cuda("auto", "470.1", 1, BLIND), BROKEN, "update the driver"),
    (devices.cuda("auto", "580.1", 1, Cuda("2.14.1+cpu", None, False)), BROKEN, "without CUDA"),
    (
        devices.cuda("auto", "580.1", 1, WORKS._replace(failed=("cuda:1: no kernel image",))),
        BROKEN,
        "no kernel image",
    ),
    (devices.cards([]), OK, "none"),
    (devices.cards([CARD]), OK, "batch_size up to 16"),
    (devices.cards([CARD, BUSY]), WARN, "GPU 1"),
    (devices.onnx_provider("auto", 0, ORT), OK, CPU_PROVIDER),
    (devices.onnx_provider("auto", 1, ORT_GPU), OK, CUDA_PROVIDER),
    (devices.onnx_provider("cpu", 1, ORT), OK, CPU_PROVIDER),
    (devices.onnx_provider("auto", 1, ORT), WARN, "requirements-gpu"),
    (devices.onnx_provider("auto", 1, ORT_GPU._replace(used=CPU_PROVIDER)), BROKEN, "do not load"),
    (
        devices.onnx_provider(
            "auto", 1, ORT_GPU._replace(builds=("onnxruntime", "onnxruntime-gpu"))
        ),
        BROKEN,
        "uninstall onnxruntime onnxruntime-gpu",
    ),
    (devices.onnx_provider("auto", 0, ORT._replace(error="ImportError: x")), BROKEN, "ImportError"),
    (software.pins("3.11.7", {"numpy": "2.4.6"}, [NUMPY]), OK, "all 1"),
    (software.pins("3.11.7", {"faiss-gpu-cu12": "1.14.1"}, [FAISS]), OK, "all 1"),
    (software.pins("3.11.7", {"numpy": "2.3.0"}, [NUMPY]), WARN, "numpy 2.3.0 (pinned 2.4.6)"),
    (software.pins("3.11.7", {"numpy": "2.4.6"}, [NUMPY, FAISS]), BROKEN, "missing: faiss-cpu"),
    (software.slurm(None, None, used=False), OK, "not on this machine"),
    (software.slurm(Ping(0, UP), "2.8.0", used=True), OK, "plugin 2.8.0"),
    (
        software.slurm(Ping(0, "Slurmctld(primary/backup) at a/b are UP/DOWN"), "2.8.0", used=True),
        OK,
        "is up",
    ),
    (software.slurm(Ping(0, UP), None, used=True), WARN, "missing"),
    (
        software.slurm(Ping(0, "Slurmctld(primary) at head is DOWN"), "2.8.0", used=True),
        BROKEN,
        "DOWN",
    ),
    (software.slurm(Ping(1, "slurm_load: error"), "2.8.0", used=True), BROKEN, "slurm_load"),
    (
        software.slurm(Ping(None, "no answer in 10 s"), "2.8.0", used=True),
        BROKEN,
        "does not answer",
    ),
    (software.slurm(Ping(1, "error"), "2.8.0", used=False), WARN, "only profiles/slurm needs it"),
    (software.slurm(Ping(None, ""), "2.8.0", used=False), WARN, "does not answer"),
    (software.tools("conda", "--sdm conda", []), OK, "not there"),
    (software.tools("conda", "--sdm conda", [Tool("conda", "conda 26.1")]), OK, "conda 26.1"),
    (software.tools("conda", "--sdm conda", [Tool("conda", "", "no module")]), WARN, "no module"),
    (software.docker(None, None, ""), OK, "not there"),
    (software.docker(Tool("docker", "Docker 28"), "28.2.2", ""), OK, "engine 28.2.2"),
    (software.docker(Tool("docker", "Docker 28"), None, "Cannot connect"), WARN, "Cannot connect"),
    (software.configuration("", "/w", True), OK, "/w"),
    (software.configuration("", "/w", False), WARN, "no workspace at /w"),
    (
        software.configuration(
            "config_invalid: unknown key 'x'\n  do: did you mean 'y'?", "/w", True
        ),
        BROKEN,
        "did you mean",
    ),
]


@pytest.mark.parametrize(("finding", "state", "words"), CASES)
def test_state_and_advice(finding, state, words):
    assert (finding.state, words in f"{finding.found} {finding.advice}") == (state, True), finding
    # Whatever is not in order says what to do.
    assert finding.state == OK or finding.advice


def test_every_row_is_tested_in_every_state_that_it_can_have():
    seen = {}
    for finding, _, _ in CASES:
        seen.setdefault(finding.what, set()).add(finding.state)
    # A tool that is not there is no fault, and neither is a busy card or a slow disk.
    mild = {"conda", "docker", "file system", "GPUs", "leftovers", "threads"}
    for what, states in seen.items():
        expected = {OK, WARN} if what in mild else {OK, WARN, BROKEN}
        assert states == expected - ({WARN} if what == "torch pair" else set()), what


def test_table_and_json_say_the_same():
    rows = [finding for finding, _, _ in CASES]
    text, facts = as_table(rows), as_json(rows)
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("->")]
    assert len(lines) == len(rows) + 1 == len(facts["findings"]) + 1
    assert facts["state"] == worst(rows) == BROKEN and worst([]) == OK
    assert lines[-1].startswith(f"{sum(row.state == OK for row in rows)} ok, ")
