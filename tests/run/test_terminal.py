"""What the terminal shows of Snakemake and of the stages, unless more is asked for."""

from __future__ import annotations

import io
import logging
import sys
from types import SimpleNamespace

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from deft.core.errors import HardStop
from deft.run import cli, stage, terminal
from deft.settings.session import BRIEF

ASKED_FOR_MORE = ("verbose", "printshellcmds", "debug_dag")


def settings(**more):
    base = dict.fromkeys((*ASKED_FOR_MORE, "dryrun", "show_failed_logs"), False)
    return SimpleNamespace(**{**base, **more})


@pytest.fixture
def screen(monkeypatch):
    """Return the stream of a handler like Snakemake's."""
    logger = logging.getLogger("snakemake.logging")
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.name = terminal.HANDLER
    monkeypatch.setattr(logger, "handlers", [handler])
    monkeypatch.setattr(logger, "level", logging.INFO)
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setenv(BRIEF, "before")
    return stream


def say(text, event=None, level=logging.INFO, **fields):
    extra = {"event": event, **fields} if event else fields
    logging.getLogger("snakemake.logging").log(level, text, extra=extra)


def test_snakemakes_own_lines_are_left_out_and_the_rest_is_shown(screen) -> None:
    terminal.make_brief(settings())
    for text in ("Building DAG of jobs...", "Select jobs to execute...", "Elapsed time: 0:00:01"):
        say(text)
    say("Job 4: train", LogEvent.JOB_INFO)
    say("1 of 3 steps", LogEvent.PROGRESS)
    say("Job stats:\njob  count\n", LogEvent.RUN_INFO)
    assert screen.getvalue() == ""
    say("Creating conda environment envs/torch.yaml...")
    say("Nothing to be done.")
    say("MissingInputException", LogEvent.ERROR, logging.ERROR)
    assert screen.getvalue().splitlines() == [
        "Creating conda environment envs/torch.yaml...",
        "Nothing to be done.",
        "MissingInputException",
    ]


def test_a_failed_job_is_one_line_and_nothing_follows_its_stop(screen) -> None:
    brief = terminal.make_brief(settings())
    fields = {"rule_name": "train", "wildcards": {"ts": "a", "phase": "iter1"}, "log": ["x.log"]}
    say("", LogEvent.JOB_ERROR, logging.ERROR, **fields)
    assert screen.getvalue() == "[iter1 · train] failed; its log: x.log\n"
    brief.over = True
    say("WorkflowError: At least one job did not complete", level=logging.ERROR)
    assert screen.getvalue().count("\n") == 1


def test_a_plan_is_its_table_once(screen) -> None:
    terminal.make_brief(settings(dryrun=True))
    for _ in range(2):
        say("Job stats:\njob  count\nall  1\n", LogEvent.RUN_INFO)
    assert screen.getvalue() == "job  count\nall  1\n"


def test_a_plan_points_to_no_display_that_is_hidden(screen) -> None:
    terminal.make_brief(settings(dryrun=True))
    told = "Some jobs were triggered by provenance information, see 'reason' section in the rule "
    say(f"{told}displays above.\nIf you prefer that only modification time is used")
    assert screen.getvalue().splitlines() == [
        "Some jobs were triggered by provenance information, --printshellcmds shows each reason.",
        "If you prefer that only modification time is used",
    ]


@pytest.mark.parametrize("name", ASKED_FOR_MORE)
def test_who_asks_for_more_gets_all(screen, monkeypatch, name) -> None:
    import os

    assert terminal.make_brief(settings(**{name: True})) is None
    assert BRIEF not in os.environ
    say("Building DAG of jobs...")
    assert "Building" in screen.getvalue()


def test_another_logger_is_left_alone(monkeypatch) -> None:
    monkeypatch.setattr(logging.getLogger("snakemake.logging"), "handlers", [])
    monkeypatch.setenv(BRIEF, "1")
    assert terminal.make_brief(settings()) is None


def test_a_stage_shows_results_and_warnings_and_one_line_a_minute(monkeypatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(cli.time, "monotonic", lambda: clock[0])
    shown, log = io.StringIO(), io.StringIO()
    out = cli.Brief(shown, log)
    print("epoch 1", file=out)
    clock[0] = 61.0
    print("epoch 2", file=out)
    print("epoch 3", file=out)
    print("warning: few rows", file=out)
    print("[iter 1/2 · train] done · 61s", file=out)
    assert shown.getvalue().splitlines() == [
        "epoch 2",
        "warning: few rows",
        "[iter 1/2 · train] done · 61s",
    ]
    assert log.getvalue().count("epoch") == 3


@pytest.mark.parametrize("brief", [True, False])
def test_a_stop_is_said_once_and_stands_in_the_log(tmp_path, monkeypatch, brief) -> None:
    """At the end of the command when that is brief, else at once too."""
    monkeypatch.setenv("DEFT_LAST_STOP", str(tmp_path / "last"))
    monkeypatch.setenv(BRIEF, "1") if brief else monkeypatch.delenv(BRIEF, raising=False)
    shown, log = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", cli.Tee(shown, log))

    def body() -> None:
        raise HardStop("pool_empty", "no row")

    assert stage._status_of(body) == 1
    assert ("HARD STOP" in shown.getvalue()) is not brief
    assert "HARD STOP pool_empty: no row" in log.getvalue()
    assert stage.take_last_stop() == "HARD STOP pool_empty: no row\n"


def test_a_stop_that_cannot_be_kept_is_said_at_once(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("DEFT_LAST_STOP", str(tmp_path / "no folder" / "last"))
    monkeypatch.setenv(BRIEF, "1")

    def body() -> None:
        raise HardStop("pool_empty", "no row")

    assert stage._status_of(body) == 1
    assert "HARD STOP pool_empty" in capsys.readouterr().err
