"""Pack wheels, weights, environments and the code into one folder or tar file."""

from __future__ import annotations

import filecmp
import platform
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deft.bundle import install
from deft.core.disk import writing
from deft.core.errors import HardStop
from deft.core.files import sha256_file, write_json_atomic, write_text_atomic
from deft.core.layout import BACKBONE_DIR
from deft.run.staging import Named, named_weights
from deft.settings.environments import ENVS_DIR

ROOT = ENVS_DIR.parent
ENCODER_DIR = "augmentation/encoder"
ENVS, WEIGHTS, EXTRA = "envs", "weights", "extra"
Log = Callable[[str], None]


@dataclass(frozen=True)
class BundleRequest:
    """What to pack.

    ``out``: a folder, or a file ``*.tar``. ``requirements``: the pip list. ``workspace`` and
    ``config``: whose weights; None packs none. ``extra``: further files, e.g. container images.
    ``pip_args``: for ``pip wheel``, e.g. ``--index-url`` of a mirror.
    """

    out: Path
    requirements: Path = ENVS_DIR / "requirements.txt"
    workspace: Path | None = None
    config: dict[str, Any] = field(default_factory=dict)
    extra: tuple[Path, ...] = ()
    pip_args: tuple[str, ...] = ()
    code: bool = True


def make_bundle(request: BundleRequest, log: Log = print) -> Path:
    """Write the bundle and return its path; nothing is left of one that fails.

    Raises
    ------
    HardStop ``missing_input`` naming everything that is not there, ``config_invalid`` for a target
    that exists. ``RuntimeError`` when pip or git fails (the network, say).
    """
    out = request.out.expanduser().absolute()
    if out.exists():
        raise HardStop(
            "config_invalid",
            "the bundle's target exists",
            file=out,
            fix="delete it or name another",
        )
    weights = _weights(request)
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    with _removed_at_the_end(part), writing(out):
        folder = part / out.stem if out.suffix == ".tar" else part
        _fill(folder, request, weights, log)
        if out.suffix == ".tar":
            log(f"packing {out.name}")
            packed = part / out.name
            with tarfile.open(packed, "w") as tar:
                for path in sorted(folder.rglob("*")):
                    tar.add(path, f"{folder.name}/{path.relative_to(folder)}", recursive=False)
            packed.replace(out)
        else:
            part.replace(out)
    return out


@contextmanager
def _removed_at_the_end(folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _weights(request: BundleRequest) -> list[Named]:
    """Return the weights to pack; stops with all that is missing, extra files too."""
    named = named_weights(request.workspace, request.config) if request.workspace else []
    missing = [each.sentence() for each in named if not each.there]
    missing += [str(path) for path in (*request.extra, request.requirements) if not path.is_file()]
    names = [path.name for path in request.extra]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise HardStop(
            "config_invalid",
            f"further files of equal names would overwrite each other: {', '.join(twice)}",
            fix="rename one, or pack their folder as one archive",
        )
    if missing:
        raise HardStop(
            "missing_input",
            f"{len(missing)} to pack and not there: {'; '.join(missing)}",
            file=missing[0],
            fix="fetch them here first; for an encoder set encoder_weights to its folder",
        )
    return named


def _fill(folder: Path, request: BundleRequest, weights: Sequence[Named], log: Log) -> None:
    folder.mkdir(parents=True)
    shutil.copytree(ENVS_DIR, folder / ENVS)
    listed = folder / ENVS / request.requirements.name
    if listed.is_file() and not filecmp.cmp(listed, request.requirements, shallow=False):
        listed = listed.with_name(f"given-{listed.name}")  # one of the user's, of the same name
    if not listed.is_file():
        shutil.copyfile(request.requirements, listed)
    _wheels(folder / install.WHEELS, request, log)
    if request.code:
        _code(folder / install.CODE)
    for path in request.extra:
        (folder / EXTRA).mkdir(exist_ok=True)
        shutil.copyfile(path, folder / EXTRA / path.name)
    facts = {
        "schema_version": 1,
        "python": ".".join(platform.python_version_tuple()[:2]),
        "system": sys.platform,
        "machine": platform.machine(),
        "requirements": f"{ENVS}/{listed.name}",
        "weights": [_copy(named, index, folder, request) for index, named in enumerate(weights)],
    }
    shutil.copyfile(install.__file__, folder / "install.py")
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    write_json_atomic(folder / install.FACTS, {**facts, "files": names})
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    log(f"digests of {len(files)} files")
    lines = [f"{sha256_file(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    write_text_atomic(folder / install.SUMS, "".join(lines))
    log(f"SHA-256 of {install.SUMS}: {sha256_file(folder / install.SUMS)}")


def _wheels(target: Path, request: BundleRequest, log: Log) -> None:
    log(f"wheels of {request.requirements.name}")
    # Not `pip download`: a few small packages are published as source alone, and to build them over
    # there would take what their build asks for.
    command = [sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check"]
    command += ["--wheel-dir", str(target), *request.pip_args]
    command += ["--requirement", str(request.requirements)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    assert process.stdout is not None
    last = ""
    for line in process.stdout:
        last = line.strip() or last
        if line.lstrip().startswith(("Saved", "Building", "ERROR")):
            log(f"  {line.strip()}")
    if process.wait():
        raise RuntimeError(f"pip could not get the wheels: {last}")
    target.mkdir(exist_ok=True)  # an empty list has no wheels


def _code(target: Path) -> None:
    """Pack the committed files of this project."""
    command = [
        "git",
        "-C",
        str(ROOT),
        "archive",
        "--format",
        "tar",
        "--output",
        str(target),
        "HEAD",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"git archive failed ({done.stderr.strip()}); --no-code leaves it out")


def _copy(named: Named, index: int, folder: Path, request: BundleRequest) -> dict[str, str]:
    """Copy one file or folder of weights; return where it lies and where it belongs."""
    assert named.path is not None and request.workspace is not None
    name = named.path.resolve().name if named.path.name in ("", ".", "..") else named.path.name
    place = f"{WEIGHTS}/{index}/{name}"
    target = folder / place
    target.parent.mkdir(parents=True)
    if named.path.is_dir():
        # The hub's cache links to blobs: their contents are wanted, its bookkeeping is not.
        shutil.copytree(named.path, target, ignore=shutil.ignore_patterns(".*"))
        home = ENCODER_DIR
    else:
        shutil.copyfile(named.path, target)
        home = BACKBONE_DIR
    return {"key": named.key, "path": place, "target": _belongs(named, f"{home}/{name}")}


def _belongs(named: Named, otherwise: str) -> str:
    """Return the path below a workspace: the same where the value is one, else the usual place."""
    value = Path(named.value)
    inside = not value.is_absolute() and ".." not in value.parts and "~" not in named.value
    return value.as_posix() if inside else otherwise


def read_facts(folder: Path) -> dict[str, Any]:
    """Return what a bundle says of itself."""
    return install.read_facts(folder)
