"""What a crash leaves behind stops nothing, and nothing of it is lost without a word."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
from filelock import FileLock

from deft.changenet.training import resume
from deft.core import files
from deft.core.errors import HardStop, StageFailed
from deft.core.files import link_or_copy, sweep, temporary_name, to_json, to_json_line
from deft.core.reading import read_json, read_text
from deft.embedding.shards import SHARDS_FILE, shard_count
from deft.pool import digest
from deft.run import jobs
from deft.run import state as state_module
from deft.run.jobs import COMMANDS, commands, note_command, orphans, registered
from deft.run.log_lines import KEPT_FILE
from deft.run.stage import hard_stop_recorded, run_stage
from deft.run.state import (
    LOG_FILE,
    STATE_FILE,
    log_stage,
    read_log,
    read_state,
    update_phase,
    update_state,
)

RUN = "run_20260131_120000"


def begun(run: Path) -> Path:
    """A run that has trained, scored and judged its baseline."""
    update_state(run, lambda state: state.update(config={"images_dir": "/x"}))
    update_phase(run, "baseline", stage_completed="train", best_ckpt_path="a.pth")
    for stage in ("train", "inference", "evaluate"):
        log_stage(run, "baseline", stage, f"{stage} is done")
    return run


LINE = b'{"seq": 4, "iter": "a", "stage": "b", "status": "c", "summary": "", "duration_sec": %s}\n'
SPOILED = {
    "cut off": b'{"seq": 4, "ts": "20',
    "cut off, with its end": b'{"seq": 4, "ts": "20\n',
    "NUL bytes": b"\0" * 4096,
    "NUL bytes, with an end": b"\0" * 4096 + b"\n",
    "no UTF-8": b'{"seq": 4, "summary": "\xff\xfe"}\n',
    "a list": b"[1, 2]\n",
    "a number": b"7\n",
    "no number": b'{"iter": "iter1", "stage": "rca", "status": "ok", "summary": "x"}\n',
    "its number is text": b'{"seq": "4", "iter": "a", "stage": "b", "status": "c", "summary": ""}',
    "endless nesting": b"[" * 5000 + b"\n",
    "a time that is no number": LINE % b"NaN",
    "a time without end": LINE % b"1e999",
    "a truth as number": b'{"seq": true, "iter": "a", "stage": "b", "status": "c", "summary": ""}',
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILED)
def test_a_last_line_that_cannot_be_read_is_kept_aside_and_its_number_given_again(
    tmp_path, name, capsys
):
    run = begun(tmp_path)
    with (run / LOG_FILE).open("ab") as handle:
        handle.write(SPOILED[name])
    assert [e["seq"] for e in read_log(run)] == [1, 2, 3]
    log_stage(run, "baseline", "rca", "done")
    lines = (run / LOG_FILE).read_bytes().decode().splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [1, 2, 3, 4]
    assert SPOILED[name].strip(b"\n") in (run / KEPT_FILE).read_bytes()
    assert capsys.readouterr().err.count("cannot be read") == 1
    log_stage(run, "baseline", "rca", "again")
    assert capsys.readouterr().err == "", "said once"


def test_a_line_lost_in_the_middle_leaves_no_gap(tmp_path):
    run = begun(tmp_path)
    log_stage(run, "iter1", "rca", "fourth")
    lines = (run / LOG_FILE).read_bytes().split(b"\n")
    at = lines[1].index(b"is done")
    damaged = lines[1][:at] + b"\0" * 20 + lines[1][at + 20 :]
    (run / LOG_FILE).write_bytes(b"\n".join([lines[0], damaged, *lines[2:]]))
    log_stage(run, "iter1", "routing", "fifth")
    log = read_log(run)
    assert [e["seq"] for e in log] == [1, 2, 3, 4, 5]
    assert (log[1]["status"], log[1]["stage"]) == ("error", "inference")
    assert KEPT_FILE in log[1]["summary"]
    assert damaged in (run / KEPT_FILE).read_bytes()


def test_a_whole_last_line_without_its_end_is_no_cut_line(tmp_path):
    """It was thrown away, and its number was left out."""
    run = begun(tmp_path)
    data = (run / LOG_FILE).read_bytes()
    (run / LOG_FILE).write_bytes(data.removesuffix(b"\n"))
    log_stage(run, "baseline", "rca", "done")
    assert [e["seq"] for e in read_log(run)] == [1, 2, 3, 4]
    assert not (run / KEPT_FILE).exists()


@pytest.mark.parametrize(
    "character", ["\u2028", "\u2029", "\x85", "\x1c", "\x0b", "\x0c", "\r", "\n"]
)
def test_a_message_is_one_line_for_every_reader(tmp_path, character):
    """``str.splitlines`` and many editors end a line at each of these."""
    log_stage(tmp_path, "baseline", "train", f"row 3{character}of b.csv")
    log_stage(tmp_path, "baseline", "rca", "next")
    lines = (tmp_path / LOG_FILE).read_text("utf-8").splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [1, 2]
    assert json.loads(lines[0])["summary"] == f"row 3{character}of b.csv"


def test_a_name_that_is_no_utf8_can_be_logged_and_recorded(tmp_path):
    name = os.fsdecode(b"b\xffd.png")
    stop = HardStop("image_invalid", f"cannot decode {name}", file=name, evidence={"stem": name})
    with pytest.raises(HardStop):
        run_stage(tmp_path, "iter1", "rca", lambda: (_ for _ in ()).throw(stop))
    assert read_state(tmp_path)["native"]["hard_stop"]["evidence"] == {"stem": name}
    shown = r"b\udcffd.png"  # as any terminal can print it; the evidence keeps the name itself
    assert shown in read_log(tmp_path)[0]["summary"]
    with pytest.raises(HardStop) as again:
        run_stage(tmp_path, "iter1", "rca", lambda: "never", attempt=2)
    assert (again.value.file, again.value.evidence) == (shown, {"stem": name})


NO_STATES = [
    *("[1, 2]", '"x"', "7", "null", "", "{", "[" * 3000, "\0" * 300, '{"iterations": []}'),
    *('{"iterations": {"baseline": 5}}', '{"status": 3}', '{"config": [1]}'),
    *('{"hard_stop": {"code": 5}}', '{"config": {"kpi_test_csv": ["x"]}}'),
    *('{"iterations": {"baseline": {"best_ckpt_path": 5}}}', '{"current_iteration": "x"}'),
]


@pytest.mark.parametrize("text", NO_STATES)
def test_a_state_of_another_type_is_made_again_from_the_log(tmp_path, text, capsys):
    run = begun(tmp_path)
    metrics = {
        "chosen": "latest",
        "weights": {"path": "train/b.pth", "val_loss": 0.5},
        "kinds": {"latest": {"recall_point": {"far_pct": 12.5, "threshold": 0.25}}},
    }
    (run / "baseline").mkdir(exist_ok=True)
    (run / "baseline/metrics.json").write_text(json.dumps(metrics))
    (run / STATE_FILE).write_text(text)
    update_phase(run, "iter1", stage_completed="routing")
    state = read_state(run)
    base = state["iterations"]["baseline"]
    assert (base["stage_completed"], base["far_pct"], base["threshold"]) == ("evaluate", 12.5, 0.25)
    assert base["best_ckpt_path"] == str(run / "baseline/train/b.pth")
    trained = state["native"]["baseline_trained_here"]
    assert trained is True, "else its weights would pass for pre-seeded"
    assert state["current_iteration"] == 1 and state["native"]["rebuilt"]["log_entries"] == 3
    assert (run / f"{STATE_FILE}.unreadable").read_text() == text
    assert "made again from the log" in capsys.readouterr().err


def test_a_state_made_again_still_tells_the_stop_and_the_earlier_place(tmp_path):
    run = begun(tmp_path / "w/results" / RUN)
    checks = {
        "kpi_target": {"far_max_pct": 0.5, "sentence": "FAR < 0.5%"},
        "parameters": [
            {"name": "workspace", "value": "/was/here"},
            {"name": "max_iterations", "value": 3},
        ],
    }
    (run / "preflight").mkdir()
    (run / "preflight/checks.json").write_text(json.dumps(checks))
    stop = HardStop("score_invalid", "all equal", file="a.csv", row=5, fix="see a.csv")
    with pytest.raises(HardStop):
        run_stage(run, "baseline", "rca", lambda: (_ for _ in ()).throw(stop))
    log_stage(run, "baseline", "loop_stop", "score_invalid", status="error")
    (run / STATE_FILE).write_bytes((run / STATE_FILE).read_bytes()[:50])
    state = read_state(run)
    assert (state["status"], state["native"]["hard_stop"]) == (
        "failed",
        {"phase": "baseline", "stage": "rca", **stop.as_dict()},
    )
    assert state["kpi_target"] == "FAR < 0.5%" and state["max_iterations"] == 3
    assert (state["results_dir"], state["native"]["moved_from"]) == (str(run), ["/was/here"])
    (run / "hard_stops/baseline_rca.json").write_text("{")
    assert read_state(run)["native"]["hard_stop"]["code"] == "score_invalid"
    log_stage(run, "baseline", "rca", "done after all")
    state = read_state(run)
    assert state["status"] == "in_progress" and "hard_stop" not in state["native"]


def test_what_this_user_may_not_read_is_not_called_damaged(tmp_path, monkeypatch):
    """It may be whole, and a note that of a living process."""
    run = begun(tmp_path)
    note = run / ".jobs/iter1_rca.json"
    note.parent.mkdir(exist_ok=True)
    note.write_text("{}")
    before = (run / STATE_FILE).read_bytes()

    def refused(path, *_, **__):
        raise HardStop("missing_input", "the file may not be read or written", file=path)

    monkeypatch.setattr("os.access", lambda path, mode: False)
    for module in (state_module, jobs):
        monkeypatch.setattr(module, "read_json", refused)
    with pytest.raises(HardStop, match="may not be read"):
        update_phase(run, "iter1", far_pct=1.0)
    with pytest.raises(HardStop, match="may not be read"):
        orphans(run)
    assert (run / STATE_FILE).read_bytes() == before and note.read_text() == "{}"


@pytest.mark.parametrize("text", NO_STATES)
def test_a_pre_seeded_state_that_is_none_is_refused_and_left_alone(tmp_path, text):
    (tmp_path / STATE_FILE).write_text(text)
    with pytest.raises(HardStop) as stop:
        read_state(tmp_path)
    assert stop.value.code == "missing_input" and stop.value.file == str(tmp_path / STATE_FILE)
    with pytest.raises(HardStop):
        update_phase(tmp_path, "iter1", far_pct=1.0)
    assert (tmp_path / STATE_FILE).read_text() == text


def test_phases_without_an_entry_are_none_yet(tmp_path):
    (tmp_path / STATE_FILE).write_text('{"iterations": {"iter1": null}, "config": null}')
    update_phase(tmp_path, "iter1", far_pct=1.0)
    assert read_state(tmp_path)["iterations"]["iter1"]["far_pct"] == 1.0


def test_a_lock_that_is_never_given_back_has_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr(state_module, "LOCK_TIMEOUT_S", 0.2)
    with FileLock(tmp_path / state_module.LOCK_FILE):
        with pytest.raises(StageFailed, match="make resume"):
            log_stage(tmp_path, "iter1", "rca", "x")


@pytest.mark.parametrize("text", ["[NaN]", "[-Infinity]", "[1e999]", "[-1e999]"])
def test_what_is_infinite_when_read_is_no_number_of_a_record(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(HardStop, match="is no number"):
        read_json(tmp_path / "a.json")
    assert len(read_json(tmp_path / "a.json", not_finite=True)) == 1


# --- notes of jobs and commands -------------------------------------------------------------------

BROKEN = [
    *(b"", b"{", b"\0" * 200, b"[1]", b"\xff", b"[" * 5000, b'{"host": "x"}'),
    *(b'{"host": 1, "pid": 2, "started": 3}', b'{"host": "x", "pid": "2", "started": 3}'),
]


@pytest.mark.parametrize("data", BROKEN)
def test_a_note_that_cannot_be_read_blocks_no_stage_and_is_kept(tmp_path, data, capsys):
    note = tmp_path / ".jobs/iter1_rca.json"
    note.parent.mkdir()
    note.write_bytes(data)
    run_stage(tmp_path, "iter1", "rca", lambda: "done")
    assert (note.parent / f"{note.name}.unreadable").read_bytes() == data
    assert "cannot be read" in capsys.readouterr().err
    assert orphans(tmp_path) == []


def test_a_process_number_that_is_none_is_no_living_process(tmp_path):
    note = {"host": socket.gethostname(), "started": 1.5}
    for number in (-1, 0, 2**31, 10**30):
        assert not jobs.is_alive({**note, "pid": number})


def test_half_and_blank_lines_among_the_noted_commands(tmp_path, capsys):
    (tmp_path / ".snakemake").mkdir()
    note_command(tmp_path, RUN, "deft_1")
    path = tmp_path / COMMANDS
    spoiled = b'{"run": "run_1", "ho\n\n\0\0\0\n[]\n\xff\n{"run": 5}\n{"run": "ru'
    path.write_bytes(path.read_bytes() + spoiled)
    note_command(tmp_path, RUN, "deft_2")
    assert [note["slurm_name"] for note in commands(tmp_path, RUN)] == ["deft_1", "deft_2"]
    assert spoiled in path.read_bytes(), "nothing is taken out"
    assert "5 lines that cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    "data", [*BROKEN, b'{"code": "unknown", "message": "x"}', b'{"code": "leakage"}']
)
def test_a_marker_that_cannot_be_read_lets_the_work_stop_by_itself(tmp_path, data):
    marker = tmp_path / "hard_stops/iter1_rca.json"
    marker.parent.mkdir()
    marker.write_bytes(data)
    run_stage(tmp_path, "iter1", "rca", lambda: "mended", attempt=2)
    assert (marker.parent / f"{marker.name}.unreadable").read_bytes() == data


def test_a_job_without_a_log_line_stops_at_once_on_its_second_attempt(tmp_path):
    """Else a shard of the pool is embedded again, only to stop at the same picture."""
    with pytest.raises(HardStop):
        with hard_stop_recorded(tmp_path, "preflight", "preflight", attempt=1, job="pool_embed_1"):
            raise HardStop("image_invalid", "cannot be decoded", file="a.png")
    with pytest.raises(HardStop, match="a.png"):
        with hard_stop_recorded(tmp_path, "preflight", "preflight", attempt=2, job="pool_embed_1"):
            raise AssertionError("the work was done again")
    assert len(read_log(tmp_path)) == 1


def test_a_file_that_may_not_be_read_is_a_stop_that_no_scheduler_repeats(tmp_path):
    def work() -> str:
        raise PermissionError(13, "Permission denied", "/data/kpi.csv")

    with pytest.raises(HardStop, match="may not be read") as stop:
        run_stage(tmp_path, "iter1", "rca", work)
    assert stop.value.file == "/data/kpi.csv"
    with pytest.raises(HardStop):
        run_stage(tmp_path, "iter1", "rca", lambda: "never", attempt=2)


@pytest.mark.parametrize("data", BROKEN)
def test_what_preflight_recorded_and_cannot_be_read_is_asked_again(tmp_path, data):
    for name in (digest.APPROVAL_FILE, digest.GATE_FILE, digest.INPUTS_FILE):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    config = {"workspace": "w", "seed": 1}
    assert digest.pool_prefix(tmp_path) is None
    assert digest.changes_since_gate(tmp_path, tmp_path, config), "no approval is taken for granted"


def test_a_number_of_shards_that_is_none(tmp_path):
    path = tmp_path / SHARDS_FILE
    path.parent.mkdir()
    for text in ("[]", '{"embed": "3"}', '{"embed": -1}', "{"):
        path.write_text(text)
        with pytest.raises(HardStop) as stop:
            shard_count(tmp_path, tmp_path, 10)
        assert stop.value.code == "missing_input" and stop.value.file == str(path)


# --- temporary files, links -----------------------------------------------------------------------


def test_a_file_linked_over_itself_leaves_no_hidden_name(tmp_path):
    """POSIX: to rename one link of a file over another of the same file does nothing."""
    kept = tmp_path / "train_resume/model_epoch_000_step_00004.pth"
    kept.parent.mkdir()
    kept.write_bytes(b"numbers")
    out = tmp_path / "train" / kept.name
    for _ in range(3):  # a training that is killed and goes on links its files again
        link_or_copy(kept, out)
    link_or_copy(out, out)
    assert [p.name for p in out.parent.iterdir()] == [kept.name]
    assert kept.samefile(out) and kept.stat().st_nlink == 2


def test_a_training_takes_away_what_killed_ones_left(tmp_path):
    out, kept = tmp_path / "train", tmp_path / "train_resume"
    for folder in (out, kept):
        folder.mkdir()
        temporary_name(folder / "m.pth").write_bytes(b"half")
        (folder / ".model_epoch_000_step_00004.pth.tmp").write_bytes(b"of an earlier version")
        (folder / "m.pth").write_bytes(b"whole")
        (folder / ".mine.pth").write_bytes(b"somebody's own")
    resume.sweep_folders(out, kept)
    for folder in (out, kept):
        assert {p.name for p in folder.iterdir()} == {"m.pth", ".mine.pth"}


def test_old_temporary_files_go_and_young_ones_stay(tmp_path):
    old, young = (temporary_name(tmp_path / "a.json") for _ in range(2))
    for path in (old, young):
        path.write_text("x")
    os.utime(old, (1, 1))
    assert sweep(tmp_path) == [old] and young.exists()
    assert sweep(tmp_path / "not there") == []


def test_a_stage_sweeps_its_run(tmp_path):
    left = temporary_name(tmp_path / "iter1/x.json")
    left.parent.mkdir()
    left.write_text("x")
    os.utime(left, (1, 1))
    run_stage(tmp_path, "iter1", "rca", lambda: "done")
    assert not left.exists()


def test_a_cut_file_of_an_interrupted_training_is_taken_from_the_other_folder(tmp_path):
    out, kept = tmp_path / "train", tmp_path / "train_resume"
    out.mkdir()
    kept.mkdir()
    (out / "a.pth").write_bytes(b"whole")
    (kept / "a.pth").write_bytes(b"who")
    digests = {"a.pth": files.sha256_file(out / "a.pth")}
    resume.restore_files(kept, out, digests)
    assert (kept / "a.pth").read_bytes() == (out / "a.pth").read_bytes() == b"whole"
    for folder in (out, kept):
        (folder / "a.pth").unlink()
        (folder / "a.pth").write_bytes(b"who")
    with pytest.raises(HardStop, match="cut off or damaged") as stop:
        resume.restore_files(kept, out, digests)
    assert stop.value.code == "no_new_checkpoint"


# --- the readers themselves -----------------------------------------------------------------------


def test_a_pipe_in_a_files_place_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(HardStop, match="a pipe, not a file"):
        read_json(tmp_path / "a.json")


def test_text_that_is_none_names_its_line(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one\ntwo\nthr\xe9e\n")
    with pytest.raises(HardStop) as stop:
        read_text(tmp_path / "a.txt", code="csv_invalid")
    assert stop.value.rows == [3] and stop.value.code == "csv_invalid"
    (tmp_path / "a.txt").write_bytes("one".encode("utf-16"))
    with pytest.raises(HardStop, match="UTF-16"):
        read_text(tmp_path / "a.txt")


def test_json_forms_hold_any_name():
    name = os.fsdecode(b"\xff")
    assert json.loads(to_json({"a": name})) == {"a": name}
    assert json.loads(to_json_line({"a": name + "\u2028"})) == {"a": name + "\u2028"}
    assert to_json({"a": "é"}) == '{\n  "a": "é"\n}\n'


def test_an_endless_value_does_not_flood_the_terminal():
    stop = HardStop("csv_invalid", "found " + "x" * 100_000, file="y" * 9000)
    assert len(stop.text()) < 4000 and "characters" in stop.text()


def test_a_stage_beside_a_spoiled_note_of_another_stage(tmp_path):
    (tmp_path / ".jobs").mkdir()
    (tmp_path / ".jobs/iter1_train.json").write_bytes(b"\0" * 100)
    with registered(tmp_path, "iter1", "rca"):
        assert [path.stem for path, _ in orphans(tmp_path)] == ["iter1_rca"]
