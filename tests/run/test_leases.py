"""Leases of GPUs, with a made-up list of cards and real processes: never two on one card."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from changenet_pairs import spec_data
from waiting import until

from deft.core import hardware
from deft.run import leases
from deft.run.leases import FOLDER, LEASED, VISIBLE, Leases

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
WAIT_S = 60
# One job: takes cards, notes when it had which, holds them for a while.
JOB = """
import json, os, sys, time
from deft.run import leases
cards, count, chosen, seconds, notes = json.loads(sys.argv[1])
leases.gpu_ids = lambda: [tuple(card) for card in cards]
leases.POLL_S = 0.02
leases.LEASES.begin(f"job {os.getpid()}")
leases.LEASES.take(count, chosen)
mine = sorted(leases.LEASES.handles)
print("has", json.dumps([mine, os.environ.get("CUDA_VISIBLE_DEVICES")]), flush=True)
with open(notes, "a") as out:
    out.write(json.dumps(["begin", time.time_ns(), os.getpid(), mine]) + "\\n")
time.sleep(seconds)
with open(notes, "a") as out:
    out.write(json.dumps(["end", time.time_ns(), os.getpid(), mine]) + "\\n")
"""


def buffered() -> dict[str, str]:
    """Return the environment of users: Python keeps back what goes to a pipe."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}


def cards(*names: str, kind: str = "H200") -> list[tuple[str, str]]:
    return [(f"GPU-{name}", kind) for name in names]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER, str(tmp_path / "locks"))
    for name in (VISIBLE, LEASED, leases.ORDER):
        monkeypatch.setenv(name, "")  # so that what a test leaves there is taken back
        monkeypatch.delenv(name)
    return tmp_path / "locks"


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "gpu_ids", lambda: cards("a", "b", "c"))


@pytest.fixture
def job(tmp_path: Path):
    """Start jobs; whatever happens none outlives the test."""
    started: list[subprocess.Popen] = []

    def start(
        there: list[tuple[str, str]],
        count: int = 1,
        chosen: list[int] | None = None,
        seconds: float = 0.0,
    ) -> subprocess.Popen:
        given = json.dumps([there, count, chosen, seconds, str(tmp_path / "notes.jsonl")])
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", JOB, given],
                env=buffered() | {"PYTHONPATH": str(SCRIPTS)},
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def has(process: subprocess.Popen) -> tuple[list[str], str | None]:
    """Return the cards that a job got, once it has them."""
    lines = iter(process.stdout.readline, "")
    found = next(line for line in lines if line.startswith("has "))
    return tuple(json.loads(found[4:]))


# --- one process ----------------------------------------------------------------------------------


def test_without_a_gpu_nothing_happens(monkeypatch, own_folder) -> None:
    monkeypatch.setattr(leases, "gpu_ids", list)
    mine = Leases()
    mine.begin("me")
    mine.take(2)
    assert VISIBLE not in os.environ and not own_folder.exists()


def test_only_a_stage_takes_leases(three, own_folder) -> None:
    """A library call, a notebook or a test must not hold a card until its process ends."""
    Leases().take()
    assert VISIBLE not in os.environ and not own_folder.exists()


def test_what_torch_then_sees(three, monkeypatch) -> None:
    first, second = Leases(), Leases()
    first.begin("first")
    first.take()
    assert os.environ[VISIBLE] == "GPU-a"
    for name in (VISIBLE, LEASED):  # as another process begins
        monkeypatch.delenv(name)
    second.begin("second")
    second.take(2)
    assert os.environ[VISIBLE] == "GPU-b,GPU-c"
    assert os.environ[LEASED] == "GPU-b,GPU-c"
    second.take(1)  # a stage that picks its device twice
    assert sorted(second.handles) == ["GPU-b", "GPU-c"]
    first.release(), second.release()


def test_processes_of_a_training_take_none_of_their_own(three, monkeypatch) -> None:
    monkeypatch.setenv(LEASED, "GPU-a,GPU-b")
    mine = Leases()
    mine.begin("rank 1")
    mine.take(2)
    assert mine.handles == {}


@pytest.mark.parametrize(
    ("given", "count", "taken", "shown"),
    [
        pytest.param("1", 1, [], "1", id="slurm gave one"),
        pytest.param("2,0", 2, [], "2,0", id="slurm gave two"),
        pytest.param("2,0", 1, ["GPU-c"], "2", id="an allocation of two, shared by jobs"),
        pytest.param("GPU-b,GPU-c", 1, ["GPU-b"], "GPU-b", id="by their ids"),
        pytest.param("", 1, [], "", id="all hidden"),
        pytest.param("0,7", 2, [], "0,7", id="one that is not there"),
        pytest.param("0", 2, [], "0", id="fewer than wanted: told by the training"),
    ],
)
def test_what_a_scheduler_gave_counts(three, monkeypatch, given, count, taken, shown) -> None:
    monkeypatch.setenv(VISIBLE, given)
    mine = Leases()
    mine.begin("me")
    mine.take(count)
    assert (sorted(mine.handles), os.environ[VISIBLE]) == (taken, shown)
    mine.release()


def test_chosen_numbers_stay_valid(three) -> None:
    """`train.gpu_ids: [0, 2]` counts among all cards, so none is hidden."""
    mine = Leases()
    mine.begin("me")
    mine.take(2, [0, 2])
    assert sorted(mine.handles) == ["GPU-a", "GPU-c"] and VISIBLE not in os.environ
    mine.release()
    mine.take(2, [0, 3])
    assert mine.handles == {}, "a card that is not there: the training says so"


def test_unlike_cards_go_by_number_unless_the_order_is_sure(monkeypatch) -> None:
    monkeypatch.setattr(leases, "gpu_ids", lambda: [("GPU-a", "T4"), ("GPU-b", "H200")])
    monkeypatch.setenv(VISIBLE, "0,1")
    assert [card.key for card in leases.visible()] == ["number-0", "number-1"]
    monkeypatch.setenv(leases.ORDER, "PCI_BUS_ID")
    assert [card.key for card in leases.visible()] == ["GPU-a", "GPU-b"]


def test_the_folder_is_the_users_own(own_folder, tmp_path, monkeypatch) -> None:
    assert stat.S_IMODE(leases.lease_folder().stat().st_mode) == 0o700
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    monkeypatch.setenv(FOLDER, str(link))
    with pytest.raises(PermissionError, match=FOLDER):
        leases.lease_folder()


def test_ids_of_the_cards_come_from_the_driver(monkeypatch) -> None:
    class Driver:
        NVMLError = RuntimeError
        nvmlInit = nvmlShutdown = staticmethod(lambda: None)
        nvmlDeviceGetCount = staticmethod(lambda: 2)
        nvmlDeviceGetHandleByIndex = staticmethod(lambda i: i)
        nvmlDeviceGetMigMode = staticmethod(lambda handle: (handle, 0))
        nvmlDeviceGetMaxMigDeviceCount = staticmethod(lambda handle: 2)
        nvmlDeviceGetMigDeviceHandleByIndex = staticmethod(lambda handle, i: f"{handle}.{i}")
        nvmlDeviceGetUUID = staticmethod(lambda handle: f"GPU-{handle}")
        nvmlDeviceGetName = staticmethod(lambda handle: b"H200")

    monkeypatch.setitem(sys.modules, "pynvml", Driver)
    assert hardware.gpu_ids() == [("GPU-0", "H200"), ("GPU-1.0", "H200"), ("GPU-1.1", "H200")]


@pytest.mark.parametrize(
    ("device", "ids", "count", "asked"),
    [
        ("cpu", [0], 2, []),
        ("cuda", [0], 1, [(1, None)]),
        ("auto", [0], 2, [(2, None)]),
        ("cuda", [1, 3], 2, [(2, [1, 3])]),
        ("cuda:2", [0], 1, [(1, [2])]),
    ],
)
def test_a_stage_takes_its_cards_before_torch_looks(monkeypatch, device, ids, count, asked) -> None:
    import torch

    from deft.changenet import device as module
    from deft.changenet.spec import from_dict

    seen: list = []

    def take(count=1, chosen=None, **_):
        seen.append((count, chosen))

    def looks() -> bool:
        assert len(seen) >= len(asked)
        return True

    monkeypatch.setattr(module.LEASES, "take", take)
    monkeypatch.setattr(torch.cuda, "is_available", looks)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    train = {"num_gpus": count, "gpu_ids": ids, "classify": {"loss": "ce"}}
    spec = from_dict(spec_data(**train))
    module.training_devices(spec, device)
    assert seen[:1] == asked


# --- several processes ----------------------------------------------------------------------------


def test_never_two_on_one_card(job, tmp_path) -> None:
    there = cards("a", "b", "c")
    crowd = [job(there, count, None, 0.05) for count in (1, 2, 1, 3, 1, 2, 1, 1)]
    for process in crowd:
        assert process.wait(WAIT_S) == 0
    lines = [json.loads(x) for x in (tmp_path / "notes.jsonl").read_text().splitlines()]
    assert len(lines) == 2 * len(crowd)
    busy: set[str] = set()
    for what, _, _, mine in sorted(lines, key=lambda line: line[1]):
        if what == "begin":
            assert not busy & set(mine)
            busy |= set(mine)
        else:
            busy -= set(mine)
    assert sorted(len(mine) for what, _, _, mine in lines if what == "begin") == [
        *(1, 1, 1, 1, 1, 2, 2, 3)
    ]


def test_who_waits_is_told_for_whom_and_goes_on_after_a_kill(job) -> None:
    there = cards("a")
    holder = job(there, seconds=WAIT_S)
    assert has(holder) == (["GPU-a"], "GPU-a")
    waiting = job(there)
    told = waiting.stdout.readline()
    assert told.startswith("waiting for 1 of 1 GPU for 0 s; in use by job ")
    assert f"(process {holder.pid})" in told
    assert waiting.poll() is None
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert has(waiting) == (["GPU-a"], "GPU-a")
    assert waiting.wait(WAIT_S) == 0


def test_a_job_that_is_killed_while_it_waits_leaves_nothing(job) -> None:
    there = cards("a", "b")
    holder = job(there, seconds=10 * WAIT_S)
    assert has(holder) == (["GPU-a"], "GPU-a")
    greedy = job(there, 2)
    assert "waiting for 2 of 2 GPUs" in greedy.stdout.readline()
    until(lambda: _is_locked("GPU-b"), "the free card to be held for it")
    os.kill(greedy.pid, signal.SIGKILL)
    greedy.wait()
    last = has(job(there))
    assert holder.poll() is None, "somebody ended the job that holds the other card"
    assert last == (["GPU-b"], "GPU-b")


def _is_locked(key: str) -> bool:
    handle = leases._open(leases.lease_folder() / f"{key}.lock")
    try:
        return not leases._locked(handle)
    finally:
        os.close(handle)


def test_chosen_cards_are_waited_for(job) -> None:
    there = cards("a", "b")
    holder = job(there, 1, [1], 0.5)
    assert has(holder) == (["GPU-b"], None)
    assert has(job(there, 1, None, 0.5))[0] == ["GPU-a"]
    assert has(job(there, 1, [1]))[0] == ["GPU-b"]
    assert holder.wait(WAIT_S) == 0
