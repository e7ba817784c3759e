"""A full disk is told as such, whatever library met it, and leaves no half file behind."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from forked_cli import fork, forked
from full_disk import BALLAST, fill, free, limit_files, small_disk
from stage_calls import arguments
from tiny_workspace import make_tiny_workspace
from workflow_tools import RUN

import deft.changenet.training.train  # noqa: F401  imported once, for all forks
from deft.core.disk import EXIT_DISK_FULL, DiskFull, explain
from deft.core.errors import HardStop
from deft.core.files import TEMPORARY, copy_atomically, replace_atomically, write_text_atomic
from deft.core.layout import Run
from deft.preflight import checks_disk
from deft.report.render import REPORT_FILE
from deft.run.state import LOG_FILE, STATE_FILE, log_stage, read_log, read_state, update_state

pytestmark = pytest.mark.long

BIG = np.random.default_rng(0).random(300_000).astype(np.float32)  # 1.2 MB, and no packing helps


def _torch(path: Path) -> None:
    with path.open("wb") as handle:
        torch.save({"a": torch.from_numpy(BIG)}, handle)


def _onnx(path: Path) -> None:
    import onnx
    from onnx import helper, numpy_helper

    graph = helper.make_graph([], "g", [], [], [numpy_helper.from_array(BIG, "w")])
    onnx.save(helper.make_model(graph), path)


def _safetensors(path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.from_numpy(BIG)}, path)


def _picture(path: Path) -> None:
    from PIL import Image

    Image.fromarray((BIG[:270_000].reshape(300, 300, 3) * 255).astype(np.uint8)).save(path, "PNG")


def _sqlite(path: Path) -> None:
    import sqlite3

    with sqlite3.connect(path) as base:
        base.execute("create table t(a)")
        base.executemany("insert into t values(?)", [("x" * 1000,)] * 1000)


def _copied_folder(path: Path) -> None:
    source = path.parents[1] / "source"
    source.mkdir(exist_ok=True)
    (source / "a").write_bytes(BIG.tobytes())
    try:
        shutil.copytree(source, path)
    finally:
        shutil.rmtree(path, ignore_errors=True)


WRITERS = {
    "torch, a handle": _torch,
    "torch, a path": lambda p: torch.save({"a": torch.from_numpy(BIG)}, p),
    "parquet": lambda p: pq.write_table(pa.table({"a": BIG}), p),
    "safetensors": _safetensors,
    "onnx": _onnx,
    "a picture": _picture,
    "numpy": lambda p: np.save(p.open("wb"), BIG),
    "sqlite": _sqlite,
    "csv": lambda p: pd.DataFrame({"a": BIG}).to_csv(p),
    "text": lambda p: p.write_text("x" * 1_200_000),
}


@pytest.fixture
def tiny_disk(tmp_path):
    with small_disk(tmp_path / "disk", "256k") as folder:
        yield folder


@pytest.mark.parametrize("name", WRITERS)
def test_every_library_on_a_full_disk(tiny_disk, name):
    with pytest.raises(DiskFull) as full:
        replace_atomically(tiny_disk / "out.bin", WRITERS[name])
    told = str(full.value)
    assert told.startswith(f"disk full: {tiny_disk / 'out.bin'}: no space is left on the disk, ")
    assert "free" in told and "needed" in told and full.value.status == EXIT_DISK_FULL
    assert list(tiny_disk.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "files_left", "words", "never"),
    [
        (OSError(errno.ENOSPC, "x"), 9, "needed at that moment: unknown", "more than that"),
        (OSError(errno.ENOSPC, "x"), 0, "its inodes are used up", "no space is left"),
        (OSError(errno.EDQUOT, "x"), 9, "the quota is used up, 9.0 GiB free", "needed"),
    ],
)
def test_much_free_space_is_not_said_to_be_too_little(
    tmp_path, monkeypatch, error, files_left, words, never
):
    monkeypatch.setattr("deft.core.disk.free_bytes", lambda folder: 9 * 2**30)
    table = SimpleNamespace(f_files=10, f_favail=files_left)
    monkeypatch.setattr("deft.core.disk.os.statvfs", lambda folder: table)
    told = str(explain(error, tmp_path / "a.bin"))
    assert words in told and never not in told and "9.0 GiB free" in told


def test_a_picture_too_large_to_read_is_no_full_disk():
    assert explain(ValueError("file too large to decode")) is None
    assert explain(RuntimeError("write failed: File too large")) is not None


def test_a_copied_folder_on_a_full_disk(tiny_disk):
    try:
        _copied_folder(tiny_disk / "x")
    except Exception as error:
        assert isinstance(explain(error, tiny_disk), DiskFull)


# SQLite gives the space back before it tells, so that nobody can say any more what was wrong.
@pytest.mark.parametrize("name", [name for name in WRITERS if name != "sqlite"])
def test_every_library_at_a_limit_of_file_sizes(tmp_path, name):
    """``ulimit -f`` needs no root; in a process of its own, since it cannot be taken back."""
    child = fork()
    if child == 0:
        status = 1
        try:
            limit_files(200_000)
            replace_atomically(tmp_path / "out.bin", WRITERS[name])
        except DiskFull as full:
            good = str(full).startswith(f"disk full: {tmp_path / 'out.bin'}: no file may grow")
            status = 0 if good and not list(tmp_path.iterdir()) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_quota_is_told_too(tmp_path):
    def write(path: Path) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    with pytest.raises(DiskFull, match="the quota is used up"):
        replace_atomically(tmp_path / "x", write)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598"),
        OSError("encoder error -2 when writing image file"),
        OSError(errno.EIO, "Input/output error"),
        OSError(errno.EACCES, "Permission denied"),
        ValueError("the label is Write Error"),
        HardStop("csv_invalid", "No space left on device is no label"),
        KeyboardInterrupt(),
    ],
)
def test_nothing_else_is_taken_for_a_full_disk(tmp_path, error):
    assert explain(error, tmp_path / "x") is None


def test_what_a_training_process_told_is_told_again():
    died = "training process 0 of 2 died: deft.core.disk.DiskFull: disk full: /data/m.pth: no space"
    assert str(explain(RuntimeError(died))).startswith("disk full: /data/m.pth: no space")


def test_a_missing_file_stays_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        copy_atomically(tmp_path / "gone", tmp_path / "x")


def _main(body: str, folder: Path, log: Path) -> tuple[int, str]:
    """Run ``body`` as a stage whose log is ``log``, in a process of its own."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from deft.run.cli import open_log\n"
        "from deft.run.stage import main, run_stage\n"
        "from deft.core.errors import HardStop\n"
        "from deft.core.files import write_text_atomic\n"
        "folder = Path(sys.argv[2])\n"
        "open_log(Path(sys.argv[3]))\n"
        f"def body():\n    {body}\n"
        "main(body)\n"
    )
    scripts = str(Path(__file__).parents[2] / "scripts")
    environment = {**os.environ, "DEFT_LAST_STOP": str(log.parent / "last_stop.txt")}
    done = subprocess.run(
        [sys.executable, "-c", code, scripts, str(folder), str(log)],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_the_message_comes_out_when_nothing_at_all_can_be_written(tiny_disk):
    """Neither log, marker, state, traceback nor the note for the end may hide it."""
    fill(tiny_disk, 0)
    full = "write_text_atomic(folder / 'a.txt', 'x' * 100_000)"
    status, said = _main(full, tiny_disk, tiny_disk / "logs/stage.log")
    assert status == EXIT_DISK_FULL and f"disk full: {tiny_disk / 'a.txt'}" in said, said
    assert "Traceback" not in said and "written to the log" in said

    stop = (
        "run_stage(folder, 'iter1', 'rca', lambda: (_ for _ in ()).throw("
        "HardStop('leakage', 'row 3 is in both')))"
    )
    (tiny_disk / "logs").mkdir(exist_ok=True)
    status, said = _main(stop, tiny_disk, tiny_disk / "logs/stage.log")
    assert "Traceback" not in said and "disk full: " in said, said

    bug = "print('x' * 5000); raise KeyError('a bug')"
    status, said = _main(bug, tiny_disk, tiny_disk / "logs/stage.log")
    assert status == 2 and "unexpected KeyError: 'a bug'" in said, said


def test_a_hard_stop_is_told_though_it_cannot_be_recorded(tiny_disk):
    """Its note in .jobs fits, its marker and the state do not."""
    run = tiny_disk / "run"
    update_state(run, lambda state: None)
    stop = (
        "run_stage(folder, 'iter1', 'rca', lambda: (_ for _ in ()).throw("
        "HardStop('leakage', 'row 3 is in both', evidence={'rows': list(range(1200))})))"
    )
    fill(tiny_disk, 8192)
    status, said = _main(stop, run, tiny_disk.parent / "stage.log")
    assert status == 1 and "HARD STOP leakage: row 3 is in both" in said, said
    assert "could not be written down: disk full: " in said


def test_a_log_that_can_be_written_no_more_is_given_up_and_the_work_goes_on(tiny_disk):
    fill(tiny_disk, 8192)
    body = "[print('line', i, 'x' * 100) for i in range(500)]; print('done')"
    status, said = _main(body, tiny_disk, tiny_disk / "stage.log")
    assert status == 0 and said.rstrip().endswith("done")
    assert said.count("no more is written to the log") == 1


def test_the_runs_log_and_state_stay_whole_on_a_full_disk(tiny_disk):
    for number in range(40):
        log_stage(tiny_disk, "iter1", "rca", f"line {number} " + "x" * 80)
    before = (tiny_disk / LOG_FILE).read_bytes()
    state = update_state(tiny_disk, lambda s: s.update(kept=1))
    fill(tiny_disk, 0)
    with pytest.raises(DiskFull, match=LOG_FILE):
        log_stage(tiny_disk, "iter1", "rca", "y" * 9000)
    with pytest.raises(DiskFull, match=STATE_FILE):
        update_state(tiny_disk, lambda s: s.update(more="z" * 9000))
    assert (tiny_disk / LOG_FILE).read_bytes() == before
    assert read_state(tiny_disk) == state
    free(tiny_disk)
    log_stage(tiny_disk, "iter1", "rca", "again")
    assert [e["seq"] for e in read_log(tiny_disk)] == list(range(1, 42))


# --- the stages themselves ------------------------------------------------------------------------

GIVEN = ["--workspace", ".", "--run", RUN]
LAP = [*GIVEN, "--phase", "iter1"]
BASE = [*GIVEN, "--phase", "baseline"]
CPU = ["--device", "cpu", "--threads", "1"]
RUN_DIR = f"results/{RUN}"
METRICS = f"{RUN_DIR}/baseline/metrics.json"
ENCODER = ["--encoder", "changenet", "--baseline", METRICS, "--batch-size", "4", *CPU]
KPI = ["--question", "kpi", "--kpi", "FAR < 0.0001% at recall=100%", "--max-iterations", "1"]
LAST_DECISION = Path(RUN_DIR) / "iter1/decide/kpi.json"
DECISION = ["--decision", str(LAST_DECISION)]
SHARD = "1-of-1"
STAGES = [
    ("stage_pool", [*GIVEN, "--encoder", "changenet"]),
    ("train", [*BASE, *CPU, "--epochs", "1", "--seed", "3"]),
    ("infer", [*BASE, *CPU]),
    ("evaluate", [*BASE, "--min-recall", "1.0"]),
    ("decide", [*BASE, *KPI]),
    ("rca", [*BASE, "--min-recall", "1.0", "--top-k", "5"]),
    ("route", LAP),
    ("embed_shard", [*GIVEN, "--item", SHARD, *ENCODER]),
    ("embed_pool", GIVEN),
    (
        "mine",
        [*LAP, "--strategy", "nearest", "--top-k", "2", "--min-similarity", "-1", *ENCODER],
    ),
    ("assemble", LAP),
    ("validate", LAP),
    ("train", [*LAP, *CPU, "--epochs", "1", "--seed", "3"]),
    ("infer", [*LAP, *CPU]),
    ("evaluate", [*LAP, "--min-recall", "1.0"]),
    ("decide", [*LAP, *KPI]),
    ("export_best", [*GIVEN, *CPU]),
    ("finish", [*GIVEN, *DECISION]),
    ("report", GIVEN),
]


def whole(workspace: Path) -> list[str]:
    """Return the names below a workspace that are half files or left over."""
    bad = []
    for path in (workspace / "results").rglob("*"):
        name, relative = path.name, path.relative_to(workspace).as_posix()
        if TEMPORARY.fullmatch(name) or name.startswith((".export.", ".int8.", ".onnx.")):
            bad.append(relative)
        if not path.is_file():
            continue
        try:
            if path.suffix == ".json" and name != "status.json":
                json.loads(path.read_text())
            elif path.suffix == ".parquet":
                pq.read_metadata(path)
            elif path.suffix == ".pth":
                assert zipfile.is_zipfile(path)
            elif path.suffix in (".csv", ".jsonl"):
                assert not path.stat().st_size or path.read_bytes().endswith(b"\n")
        except Exception as error:
            bad.append(f"{relative}: {error!r}")
    return bad


def _stage(
    workspace: Path, said: Path, name: str, args: list[str], before=lambda: None
) -> tuple[int, str]:
    def begin() -> None:
        os.chdir(workspace)
        os.environ["TMPDIR"] = str(workspace.parent)
        torch.set_num_threads(1)
        before()

    job = forked(name, *args, output=said, before=begin)
    return job.wait(), job.text()


def _files(workspace: Path, name: str, args: list[str]) -> list[str]:
    """Return a stage's files as its rule names them, relative to the workspace."""
    run, which = Run(Path(), RUN), ()
    if name in ("finish", "report"):
        return []
    if "--phase" in args:
        which = (args[args.index("--phase") + 1],)
    elif name == "embed_shard":
        which = (SHARD,)
    elif name == "embed_pool":
        which = ([run.synth_pool / f"shards/{SHARD}.parquet"],)
    elif name == "export_best":
        best = json.loads((workspace / LAST_DECISION).read_text())["best_phase"]
        which = (LAST_DECISION, best)
    return arguments(name, run, *which)


def _chain(workspace: Path, out: Path, stages, levels, hinder) -> int:
    """Run stages hindered at every level, then as it should be; return the failures seen."""
    failures = 0
    for name, options in stages:
        if name == "route":
            (workspace / RUN_DIR / "iter1").mkdir(exist_ok=True)
        args = [*options, *_files(workspace, name, options)]
        for level in levels:
            before = hinder(level)
            status, said = _stage(workspace, out, name, args, before)
            free(workspace.parent)
            assert "Traceback" not in said, (name, level, said)
            assert whole(workspace) == [], (name, level, said)
            if status:
                failures += 1
                assert status == EXIT_DISK_FULL, (name, level, said)
                assert "disk full: " in said and "unexpected" not in said, (name, level, said)
        status, said = _stage(workspace, out, name, args)
        assert status == 0, (name, said)
    log = read_log(workspace / RUN_DIR)
    assert [e["seq"] for e in log] == list(range(1, len(log) + 1))
    return failures


def _drawn(path: Path) -> Path:
    workspace = make_tiny_workspace(path, base=12, validation=6, kpi=12, pool=8, pregen=2)
    write_text_atomic(workspace / "results/current_run", RUN + "\n")
    config = json.dumps({"kpi": KPI[3], "encoder": "changenet", "device": "cpu"})
    options = ["--workspace", ".", "--run-dir", RUN_DIR, "--config-json", config]
    status, said = _stage(workspace, path.parent / "said.txt", "preflight", options)
    assert status == 0, said
    return workspace


def _on_a_full_disk(tmp_path: Path, stages, levels) -> int:
    with small_disk(tmp_path / "disk", "100m") as folder:
        workspace = _drawn(folder / "w")

        def hinder(left: int):
            fill(folder, left)
            return lambda: None

        failures = _chain(workspace, tmp_path / "said.txt", stages, levels, hinder)
        assert not (folder / BALLAST).exists()
        assert len(stages) < len(STAGES) or (workspace / RUN_DIR / REPORT_FILE).is_file()
        return failures


def test_a_training_and_what_stands_before_it_on_a_disk_that_is_full(tmp_path):
    assert _on_a_full_disk(tmp_path, STAGES[:3], (0, 60_000)) >= 4


@pytest.mark.slow
def test_every_stage_on_a_disk_that_is_full(tmp_path):
    levels = (0, 4096, 40_000, 200_000, 900_000)
    assert _on_a_full_disk(tmp_path, STAGES, levels) > 1.5 * len(STAGES)


@pytest.mark.slow
def test_every_stage_at_a_limit_of_file_sizes(tmp_path):
    """At a small limit hardly a stage gets through; none is silent about it."""
    workspace = _drawn(tmp_path / "w")
    levels = (3000, 100_000)
    out = tmp_path / "said.txt"
    failures = _chain(workspace, out, STAGES, levels, lambda count: lambda: limit_files(count))
    assert failures >= len(STAGES) / 2


# --- pre-flight -----------------------------------------------------------------------------------


def _check(monkeypatch, tmp_path, free_gib: float):
    from tiny_workspace import tiny_spec

    from deft.changenet.spec import from_dict

    spec = from_dict(tiny_spec(num_epochs=4))
    monkeypatch.setattr(checks_disk, "free_disk_gib", lambda path: free_gib)
    context = SimpleNamespace(
        spec=spec, config={"max_iterations": 2}, workspace=tmp_path, run_dir=tmp_path / "r",
        facts={}, tables={"pool": range(1000)}, parts=[],
    )  # fmt: skip
    return checks_disk.check(context)


def test_preflight_stops_below_one_phase_and_warns_below_the_run(monkeypatch, tmp_path):
    assert _check(monkeypatch, tmp_path, 100).status == "ok"
    assert _check(monkeypatch, tmp_path, 1.0).status == "warn"
    stopped = _check(monkeypatch, tmp_path, 0.01)
    assert stopped.status == "stop" and stopped.stop.code == "config_invalid"
    assert "one phase" in stopped.evidence and "MiB" in stopped.evidence
    assert stopped.stop.evidence["phase_bytes"] > stopped.stop.evidence["free_bytes"]
