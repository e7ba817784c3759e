"""The state of an interrupted training, in a folder that the workflow does not declare.

Snakemake wipes the declared outputs of a failed job, so the model files saved so far are kept here
as well (as hard links: no second copy on the disk).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from deft.changenet.weights import write_torch
from deft.errors import HardStop

STATE_FILE = "resume.pth"


def link_or_copy(source: Path, target: Path) -> None:
    """Make ``target`` the same file as ``source`` (a copy where links do not work)."""
    if source.resolve() == target.resolve():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copyfile(source, temporary)
    temporary.replace(target)


def save_resume(resume_dir: Path, identity: dict[str, Any], state: dict[str, Any]) -> None:
    """Write the state after a finished epoch, whole or not at all."""
    rng: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        rng["cuda"] = torch.cuda.get_rng_state_all()
    write_torch(resume_dir / STATE_FILE, {"identity": identity, "rng": rng, **state})


def load_resume(
    resume_dir: Path, identity: dict[str, Any], log: Callable[[str], None]
) -> dict[str, Any] | None:
    """Return the state when it belongs to this very training; else clear the folder.

    ``identity`` says which training it is: spec, tables, initial weights, options, logic version.
    """
    path = resume_dir / STATE_FILE
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever is wrong with it, training anew is right
        log(f"resume state cannot be read ({type(error).__name__}): training starts anew")
        clear_resume(resume_dir)
        return None
    found = state.get("identity") if isinstance(state, dict) else None
    if not isinstance(found, dict):
        log("resume state is not one of a training: training starts anew")
        clear_resume(resume_dir)
        return None
    if found != identity:
        differs = sorted(k for k in identity if found.get(k) != identity[k])
        log(f"resume state is of another training ({', '.join(differs)}): training starts anew")
        clear_resume(resume_dir)
        return None
    return state


def restore_rng(state: dict[str, Any]) -> None:
    """Put torch's random generators back where the interrupted training left them."""
    torch.set_rng_state(state["rng"]["cpu"])
    if "cuda" in state["rng"] and torch.cuda.is_available():
        kept = state["rng"]["cuda"]
        if len(kept) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(kept)


def restore_files(resume_dir: Path, out_dir: Path, names: list[str]) -> None:
    """Bring back model files that the workflow wiped from the output folder."""
    for name in names:
        if (resume_dir / name).is_file():
            link_or_copy(resume_dir / name, out_dir / name)
        elif not (out_dir / name).is_file():
            raise HardStop(
                "no_new_checkpoint",
                f"the resume state counts on {name}, which is neither in it nor in {out_dir}",
                file=resume_dir / STATE_FILE,
                fix="remove the resume folder; the training then starts anew",
            )


def clear_resume(resume_dir: Path) -> None:
    """Remove the resume folder, also when it is not there."""
    shutil.rmtree(resume_dir, ignore_errors=True)
