"""The quick end of a command line: what must still happen, and when it is the usual one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deft.run.leaving import leave

SCRIPTS = Path(__file__).parents[2] / "scripts"
HEAD = """
import atexit, multiprocessing, sys, threading, time
sys.path.insert(0, {scripts!r})
sys.modules["__main__"].__file__ = {file!r}
from deft.run.leaving import leave
atexit.register(lambda: print("handler", file=sys.stderr))
class Torn:
    def __del__(self): sys.__stderr__.write("torn down\\n")
kept = Torn()
sys.stdout.write("said")
"""


def end(body: str, file: str = str(SCRIPTS / "stage.py")) -> subprocess.CompletedProcess[str]:
    """Run ``body`` after HEAD in a process whose main file is ``file``."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    code = HEAD.format(scripts=str(SCRIPTS), file=file) + body
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )


def test_a_command_line_ends_at_once_with_what_it_said_and_its_exit_handlers():
    done = end("leave(3)")
    assert (done.returncode, done.stdout, done.stderr) == (3, "said", "handler\n")


@pytest.mark.parametrize(
    "work",
    [
        "threading.Thread(target=lambda: (time.sleep(0.5), print(' late'))).start()",
        "multiprocessing.get_context('fork').Process("
        "target=lambda: (time.sleep(0.5), print(' late', flush=True))).start()",
    ],
    ids=["thread", "process"],
)
def test_a_thread_or_process_at_work_is_waited_for(work):
    done = end(f"sys.stdout.flush(); {work}\nleave(0)")
    assert done.returncode == 0 and "late" in done.stdout and "torn down" in done.stderr


def test_another_programs_process_has_its_usual_end(tmp_path):
    done = end("leave(3)", str(tmp_path / "other.py"))
    assert done.returncode == 3 and "torn down" in done.stderr
    with pytest.raises(SystemExit) as leaving:  # pytest's own
        leave(4)
    assert leaving.value.code == 4


def test_a_pipe_that_nobody_reads_has_pythons_status():
    done = end("import os; r, w = os.pipe(); os.close(r); os.dup2(w, 1)\nleave(0)")
    assert done.returncode == 120
