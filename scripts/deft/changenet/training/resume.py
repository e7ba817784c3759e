"""The state of an unfinished training, in a folder that the workflow does not declare.

Snakemake wipes the declared outputs of a failed job, so the model files saved so far are kept here
as well (as hard links: no second copy on the disk).
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from deft.changenet.data.pairs import PairData
from deft.changenet.weights import write_torch
from deft.core.errors import HardStop
from deft.core.files import link_or_copy, sha256_file, sweep
from deft.core.weight_files import endless_name

STATE_FILE = "resume.pth"
LAYOUT = 3  # of the state's entries
STAT_THREADS, STAT_CHUNK = 16, 256


def sweep_folders(out_dir: Path, resume_dir: Path) -> None:
    """Take away hidden files that killed trainings left in their two folders.

    Also those that earlier versions named ``.<name>.pth.tmp``. Only for the training that has the
    folders to itself.
    """
    for folder in (out_dir, resume_dir):
        sweep(folder, 0.0)
        for path in folder.glob(".*.pth.tmp"):
            path.unlink(missing_ok=True)


def save_resume(resume_dir: Path, identity: dict[str, Any], state: dict[str, Any]) -> None:
    """Write the state of a training, whole or not at all."""
    write_torch(resume_dir / STATE_FILE, {"identity": identity, **state})


def load_resume(
    resume_dir: Path, identity: dict[str, Any], log: Callable[[str], None]
) -> dict[str, Any] | None:
    """Return the state when it belongs to this very training; else clear the folder.

    ``identity`` says which training it is, by everything that shapes its result: spec, tables,
    pictures, initial weights, options, kind of device, logic version.
    """
    path = resume_dir / STATE_FILE
    if not path.is_file():
        return None
    try:
        if endless_name(path):
            raise ValueError("a class in it has an endless name")
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
        names = found.keys() | identity.keys()
        differs = sorted(name for name in names if found.get(name) != identity.get(name))
        log(f"resume state is of another training ({', '.join(differs)}): training starts anew")
        clear_resume(resume_dir)
        return None
    return state


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """Return where this process's random generators stand."""
    found = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def restore_random(kept: dict[str, torch.Tensor], device: torch.device) -> None:
    """Put this process's random generators back to what :func:`random_state` returned."""
    torch.set_rng_state(kept["cpu"])
    if "cuda" in kept and device.type == "cuda":
        torch.cuda.set_rng_state(kept["cuda"], device)


def pictures_digest(*tables: PairData) -> str:
    """Return a digest of the tables' pictures: path, size and time stamp of each, no content.

    An epoch reads them all many times; a picture that was replaced meanwhile must not give a
    training of which one half saw another one.
    """
    files = sorted({str(path) for data in tables for path in data.files()})
    with ThreadPoolExecutor(STAT_THREADS) as pool:  # on a network disk each question waits
        facts = pool.map(_stat, files, chunksize=STAT_CHUNK)
        digest = hashlib.sha256()
        for path, fact in zip(files, facts, strict=True):
            digest.update(f"{path}\t{fact}\n".encode())
    return digest.hexdigest()


def _stat(path: str) -> str:
    try:
        found = os.stat(path)
    except OSError:
        return "absent"  # told when it is read
    return f"{found.st_size}\t{found.st_mtime_ns}"


def restore_files(resume_dir: Path, out_dir: Path, digests: dict[str, str]) -> None:
    """Bring back model files that the workflow wiped from the output folder.

    ``digests``: name -> SHA-256 that the state knows. A machine that lost power may have left a
    file cut off: then the other folder's counts, if that is whole.
    """
    for name, digest in sorted(digests.items()):
        kept, out = resume_dir / name, out_dir / name
        if _is_whole(kept, digest):
            link_or_copy(kept, out)
            continue
        if _is_whole(out, digest):
            kept.unlink(missing_ok=True)
            link_or_copy(out, kept)
            continue
        there = kept.is_file() or out.is_file()
        raise HardStop(
            "no_new_checkpoint",
            f"the resume state counts on {name}, which is "
            + ("cut off or damaged" if there else f"neither in it nor in {out_dir}"),
            file=resume_dir / STATE_FILE,
            fix="remove the resume folder; the training then starts anew",
        )


def _is_whole(path: Path, digest: str) -> bool:
    return path.is_file() and sha256_file(path) == digest


def clear_resume(resume_dir: Path) -> None:
    """Remove the resume folder, also when it is not there."""
    shutil.rmtree(resume_dir, ignore_errors=True)
