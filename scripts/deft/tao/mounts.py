"""What a container sees of this machine: the workspace read-only, one folder to write into.

Every path is the same inside and outside, so that a spec, a table of file names and a message of
TAO's mean the same on both sides, and nothing is written outside the workspace.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from deft.core import layout
from deft.core.errors import HardStop
from deft.core.files import write_text_atomic
from deft.run.containers.command import Mount

# Folders and files of a workspace that are often links to elsewhere.
OFTEN_LINKED = (
    *("specs", "train", "train/base", "kpi", "kpi/images", "images", "augmentation", "results"),
    *(layout.POOL_DIR, f"{layout.POOL_DIR}/images", layout.BACKBONE_DIR),
    *(layout.SPEC, layout.BASE_TABLE, layout.VALIDATION_TABLE, layout.KPI_TABLE),
)
CREDENTIALS, NOTHING = ".env", Path("/dev/null")
# Where some of TAO's tools write by default. No --tmpfs: runc gives that the rights of the image's
# own folder, whatever mode is asked for, and it may be root's alone.
DEFAULT_RESULTS = Path("/results")
SPEC_FOLDER = "experiment_specs"  # TAO's configuration library wants it in the working directory


def mounts_for(root: Path, scratch: Path, further: Iterable[Path] = ()) -> tuple[Mount, ...]:
    """Return the mounts of a stage.

    Parameters
    ----------
    root: the workspace, absolute; mounted read-only.
    scratch: the one folder that the container writes; inside the workspace.
    further: files and folders that are read and may lie elsewhere (weights, pictures).
    """
    for path in (root, scratch):
        if any(c in str(path) for c in "\r\n"):
            raise HardStop("path_escape", f"a path with a line break cannot be mounted: {path!r}")
    seen = {root: Mount(root)}
    for path in [*(root / name for name in OFTEN_LINKED), *further]:
        for found in _chain(path):
            if not any(_covers(mount.inside, found) for mount in seen.values()):
                seen[found] = Mount(found)
    read = sorted(seen.values(), key=lambda m: str(m.inside))
    return (*read, *_hidden(root), Mount(_inside(root, scratch), writable=True))


def _hidden(root: Path) -> tuple[Mount, ...]:
    """Return a mount that puts nothing in the place of the workspace's credentials."""
    file = root / CREDENTIALS
    return (Mount(NOTHING, file),) if file.is_file() and not file.is_symlink() else ()


def _inside(root: Path, path: Path) -> Path:
    """Return the name by which a container that has ``root`` comes to ``path``.

    Links below the workspace are followed there as here; the workspace itself may be one, too.
    """
    real, base = path.resolve(), root.resolve()
    return root / real.relative_to(base) if real == base or base in real.parents else real


def _chain(path: Path) -> list[Path]:
    """Return where a path and what it links to really lie; ``[]`` when it does not exist.

    Of a folder also where the links directly in it lead to (the hub's cache is made of such).
    """
    if not path.exists():
        return []
    found = [Path(os.path.abspath(path)), path.resolve()]
    if path.is_dir():
        targets = sorted(Path(e.path).resolve() for e in os.scandir(path) if e.is_symlink())
        found += [target if target.is_dir() else target.parent for target in targets]
    return [p for p in dict.fromkeys(found) if p.exists()]


def _covers(outer: Path, inner: Path) -> bool:
    return inner == outer or outer in inner.parents


def prepare_scratch(scratch: Path) -> None:
    """Make the folder that a container writes, with what TAO looks for in it."""
    for name in ("out", "home/results", SPEC_FOLDER):
        (scratch / name).mkdir(parents=True, exist_ok=True)


def default_results(scratch: Path) -> Mount:
    """Return a mount that takes what tools write to their default folder; it goes with ``home``."""
    return Mount(scratch / "home/results", DEFAULT_RESULTS, writable=True)


def identity_file(scratch: Path) -> Mount:
    """Return a mount that gives the caller's ids a name inside the container.

    Without one ``getpwuid`` fails there, and libraries that ask for it at import with it.
    """
    uid, gid, home = os.getuid(), os.getgid(), scratch / "home"
    text = f"root:x:0:0:root:/root:/bin/bash\ndeft:x:{uid}:{gid}:deft:{home}:/bin/bash\n"
    path = write_text_atomic(scratch / "passwd", text)
    return Mount(path, Path("/etc/passwd"))


def environment(scratch: Path) -> tuple[tuple[str, str], ...]:
    """Return variables that keep caches and names of the user inside the scratch folder."""
    home = scratch / "home"
    return (
        ("HOME", str(home)),
        ("USER", "deft"),
        ("LOGNAME", "deft"),
        ("NUMBA_CACHE_DIR", str(home / "numba")),
    )
