"""Training a ChangeNet natively: reproducible on a CPU, resumable, with TAO's files.

The loop is Lightning's. ``module`` is what it trains and ``loader`` what it iterates over;
``trainer`` sets it up with its callbacks: ``callbacks`` (validation, curves, progress), ``saving``
(files, chosen by ``selection``) and ``state`` (interruptions). ``checkpoint`` and ``restore`` hold
a whole training in TAO's file, ``own_process`` is a whole training in one process,
``launch`` starts several.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deft.changenet.device import training_devices
from deft.changenet.precision import Precision
from deft.changenet.spec import Spec
from deft.changenet.training import resume
from deft.changenet.training.distributed import DistributedContext
from deft.changenet.training.launch import train_in_processes
from deft.changenet.training.options import Options
from deft.changenet.training.own_process import train_here
from deft.changenet.training.progress import Log
from deft.core.interrupt import Requests


def train(
    spec: Spec,
    *,
    workspace: str | Path,
    out_dir: str | Path,
    resume_dir: str | Path,
    options: Options | None = None,
    log: Log | None = None,
    requests: Requests | None = None,
    keep_state: bool = False,
) -> dict[str, Any]:
    """Train as the spec says and return what ``weights.json`` holds.

    Parameters
    ----------
    spec: gives tables, network, schedule; its relative paths start at ``workspace``. With
        ``train.num_gpus`` above 1 that many processes are started on this machine.
    out_dir: gets model files, ``weights.json``, ``experiment.yaml``, ``status.json`` and curves.
    resume_dir: state of an unfinished training; removed at the end. A state of this very training
        is continued and ends in the same numbers (on a CPU: the same bytes).
    options: everything else, see :class:`deft.changenet.training.options.Options`.
    log: takes one line per epoch; without it a terminal shows a bar, a file plain lines.
    requests: signals that ask to stop; by default those that this process gets from now on.
    keep_state: leave the state where it is at a good end; the caller removes it with
        :func:`deft.changenet.training.resume.clear_resume` once nothing can be lost any more.

    Raises
    ------
    Interrupted when a signal asked to stop; the state is saved, the same call goes on.
    HardStop ``csv_invalid``, ``image_invalid``, ``missing_input``, ``spec_invalid``,
    ``config_invalid``, and ``no_new_checkpoint`` when the loss is not finite or nothing was
    trained.
    """
    options = options or Options()
    workspace, out_dir, resume_dir = Path(workspace), Path(out_dir), Path(resume_dir)
    devices = training_devices(spec, options.device)
    Precision(spec, devices[0])  # refuses what the device cannot do, before anything is read
    given = (spec, workspace, (out_dir, resume_dir), options, devices)
    if len(devices) > 1:
        say = log or (lambda text: print(text, flush=True))
        result = train_in_processes(devices, given, log=say)
    else:
        with requests or Requests() as asked:
            result = train_here(*given, log, asked, DistributedContext())
    if not keep_state:
        resume.clear_resume(resume_dir)
    return result
