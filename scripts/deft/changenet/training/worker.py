"""One of several training processes; torchrun starts it (see ``launch``)."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path

from deft.changenet.spec import from_dict
from deft.changenet.training.launch import (
    death_file,
    end_with_parent,
    interruption_file,
    peer_failed,
    stop_file,
)
from deft.changenet.training.options import Options
from deft.changenet.training.train import train
from deft.core.errors import HardStop
from deft.core.files import read_json, write_json_atomic
from deft.core.interrupt import Interrupted, Requests


def main(path: str) -> int:
    """Train as the job file says; leave a hard stop beside it and return 1.

    torchrun sends SIGTERM also when another process has failed: then nobody is left to agree with
    on a step, and this one ends at once.
    """
    end_with_parent(signal.SIGKILL)
    job = read_json(path)
    rank = int(os.environ["RANK"])
    try:
        spec = from_dict(job["spec"], source=job["source"])
        arguments = dict(job["arguments"])
        options = Options(**arguments.pop("options"))
        say = (lambda text: print(text, flush=True)) if rank == 0 else (lambda text: None)
        job_file = Path(path)
        requests = Requests(lambda number: os._exit(1) if peer_failed(job_file) else None)
        train(spec, **arguments, options=options, log=say, requests=requests)
    except Interrupted as stop:
        write_json_atomic(interruption_file(Path(path), rank), stop.as_dict())
        return stop.status
    except HardStop as stop:
        write_json_atomic(stop_file(Path(path), rank), stop.as_dict())
        return 1
    except Exception:  # whatever it is: told, then out without waiting for the others
        told = traceback.format_exc()
        try:
            death_file(Path(path), rank).write_text(told, encoding="utf-8", errors="replace")
        except OSError:  # a full disk: torchrun passes on what is said here
            print(told, file=sys.stderr, flush=True)
        return 2
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1])
    sys.stdout.flush()
    # Without the interpreter's tidying: a process that stops must not wait for the others.
    if status:
        os._exit(status)
