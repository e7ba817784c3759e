"""Asking a command for a metric: paths and no shell, a time limit, every way to answer badly."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from metric_command import contract, write_command

from deft.core.errors import HardStop
from deft.kpi.measuring import measure, refuse_program
from deft.settings.metric_contract import parse_contract

PYTHON = (
    "#!/usr/bin/env python3\nimport sys, json, os, time\n"
    "out = sys.argv[sys.argv.index('--output-json') + 1]\n"
)
ANSWER = (
    "dict(name='quiet_defects', value=0.25, unit='share', constraints=dict(mean_good_score=0.1))"
)
WRITE = f"json.dump({ANSWER}, open(out, 'w'))\n"


@pytest.fixture
def table(tmp_path) -> Path:
    path = tmp_path / "a folder; $(touch gone)" / "inference.csv"
    path.parent.mkdir()
    path.write_text("label,siamese_score\nbridge,0.9\nbridge,0.1\nPASS,0.2\n")
    return path


def asked(folder: Path, table: Path, body: str, timeout_s: int = 30, **changes: Any) -> dict:
    made = contract(write_command(folder, body), **changes)
    return measure(parse_contract(made), "iter1", table, timeout_s)


def test_the_command_gets_absolute_paths_and_no_shell(tmp_path, table, capsys):
    made = contract(write_command(tmp_path))
    result = measure(parse_contract(made), "iter1", table, 30)
    assert result["value"] == 0.5 and result["constraints"] == {"mean_good_score": 0.2}
    assert (tmp_path / "asked.txt").read_text() == f"{table}\n"
    assert "counted 3" in capsys.readouterr().out
    assert not list(tmp_path.rglob("gone"))


def test_a_file_that_an_answer_depends_on_is_not_the_commands_to_write(tmp_path, table):
    log = tmp_path / "log.txt"
    body = f"{PYTHON}open('{log}', 'a').write('x')\n{WRITE}"
    path = write_command(tmp_path, body)
    evaluator = {"type": "command", "path": str(path), "args": ["--log", str(log)]}
    made = parse_contract(contract(path, evaluator=evaluator))
    for _ in "new", "grown":
        with pytest.raises(HardStop, match="wrote .*log.txt, which its arguments name"):
            measure(made, "iter1", table, 30)


def test_credentials_are_not_handed_on(tmp_path, table, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    body = PYTHON + "assert 'HF_TOKEN' not in os.environ\n" + WRITE
    assert asked(tmp_path, table, body)["value"] == 0.25


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("#!/bin/sh\necho no policy >&2\nexit 3\n", "ended with status 3; it said: no policy"),
        ("#!/bin/sh\nkill -9 $$\n", "ended with signal SIGKILL"),
        ("#!/bin/sh\nexit 0\n", "wrote no file to the path after --output-json"),
        (PYTHON + "open(out, 'w').write('{')\n", "not a JSON file"),
        (PYTHON + "open(out, 'w')\n", "not a JSON file"),
        (PYTHON + "open(out, 'wb').write(b'\\xff\\xfe')\n", "no sound answer"),
        (PYTHON + "os.mkdir(out)\n", "wrote no file"),
        (PYTHON + "os.symlink('/etc/hostname', out)\n", "wrote no file"),
        (PYTHON + "json.dump([1], open(out, 'w'))\n", "no JSON object"),
        (PYTHON + WRITE.replace("0.25", "float('nan')"), "no sound answer"),
        (PYTHON + WRITE.replace("'share'", "'%'"), "unit is '%', the contract's is 'share'"),
        (PYTHON + WRITE.replace("mean_good_score", "other"), "constraints lacks mean_good_score"),
        ("no first line", "cannot be started"),
        ("#!/no/such/interpreter\n", "cannot be started"),
    ],
)
def test_a_bad_command_is_a_stop_that_names_it(tmp_path, table, body, words):
    with pytest.raises(HardStop, match=words) as caught:
        asked(tmp_path, table, body)
    assert caught.value.code == "kpi_invalid"
    assert caught.value.file == str(tmp_path / "evaluate_quiet_defects.py")


def test_a_command_without_end_is_ended_with_all_that_it_started(tmp_path, table):
    body = f"#!/bin/sh\nsleep 600 &\necho $! > {tmp_path}/child\nwait\n"
    began = time.monotonic()
    with pytest.raises(HardStop, match="took more than 1 s"):
        asked(tmp_path, table, body, timeout_s=1)
    assert time.monotonic() - began < 20
    child = int((tmp_path / "child").read_text())
    for _ in range(100):  # whoever adopted it may take a moment to bury it
        try:
            state = Path(f"/proc/{child}/stat").read_text().split()[2]
        except OSError:
            break
        if state == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail("the command's child still runs")


def test_what_a_command_says_without_end_is_cut(tmp_path, table):
    body = PYTHON + "print('x' * 3_000_000)\nsys.exit(1)\n"
    with pytest.raises(HardStop) as caught:
        asked(tmp_path, table, body)
    assert len(caught.value.message) < 2000


@pytest.mark.parametrize(("mode", "words"), [(0o644, "may not be executed"), (None, "is no file")])
def test_a_command_that_cannot_run_is_known_before_the_run(tmp_path, mode, words):
    path = write_command(tmp_path)
    path.unlink() if mode is None else path.chmod(mode)
    with pytest.raises(HardStop, match=words):
        refuse_program(parse_contract(contract(path)))
    write_command(tmp_path)
    refuse_program(parse_contract(contract(path)))


def test_a_delivered_file_is_taken_once_it_is_there(tmp_path, table):
    place = tmp_path / "{iter_label}" / "metric_result.json"
    evaluator = {"type": "artifact", "producer": "factory", "path_template": str(place)}
    made = parse_contract(contract(tmp_path / "x", evaluator=evaluator))
    refuse_program(made)
    with pytest.raises(HardStop, match="iter1 is not delivered yet: factory") as caught:
        measure(made, "iter1", table, 5)
    assert caught.value.file == str(tmp_path / "iter1/metric_result.json")
    path = tmp_path / "iter1/metric_result.json"
    path.parent.mkdir()
    constraints = {"mean_good_score": 0.1}
    answer = {"name": "quiet_defects", "value": 1, "unit": "share", "constraints": constraints}
    path.write_text(json.dumps(answer))
    assert measure(made, "iter1", table, 5)["value"] == 1
    path.write_text(json.dumps(answer | {"unit": "%"}))
    with pytest.raises(HardStop, match="factory delivered no sound answer: unit"):
        measure(made, "iter1", table, 5)
    assert os.path.isfile(path)
