"""``refs/``: upstream sources, linked or cloned, each with its commit and licence."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

from deft.core.airgap import OWN, air_gapped
from deft.core.errors import HardStop
from dl_lab.record import GIT, git_state
from model_explorer.request import shown_url

SCHEMES = re.compile(r"^(https?|ssh|git|file)://|^[\w.-]+@[\w.-]+:")
CLONE_TIMEOUT_S = 600
LICENCES = ("LICENSE*", "LICENCE*", "COPYING*")


def link(folder: Path, source: Path) -> dict[str, Any]:
    """Link a local source folder as ``refs/<name>``; return its record."""
    if not source.is_dir():
        raise HardStop(
            "missing_input",
            "explore.source is no folder",
            file=source,
            fix="give the folder that holds the source",
        )
    name = _free(folder, source.name)
    (folder / "refs" / name).symlink_to(source, target_is_directory=True)
    return _record(name, "link", str(source), source)


def clone(folder: Path, address: str, wanted: str | None) -> dict[str, Any]:
    """Clone a repository's newest commit (or ``wanted``: a branch or tag) as ``refs/<name>``.

    No password of the address is kept. Raises HardStop ``config_invalid`` for an address that git
    would run as a command, ``missing_input`` when it cannot be cloned (for instance without a
    network; with ``AIR_GAPPED`` only ``file://`` is tried).
    """
    if not SCHEMES.match(address):
        raise HardStop(
            "config_invalid",
            f"explore.repository {shown_url(address)!r} is no address of a repository",
            fix=(
                "https://…, ssh://…, git@host:path or file://…; a local folder goes into "
                "explore.source"
            ),
        )
    if air_gapped() and not address.startswith("file://"):
        raise HardStop(
            "missing_input",
            f"{OWN} is set, so {shown_url(address)} is not cloned",
            fix="clone it elsewhere, carry it over and give the folder as explore.source",
        )
    stem = address.rstrip("/").rsplit("/", 1)[-1].rsplit(":", 1)[-1].removesuffix(".git")
    name = _free(folder, re.sub(r"[^\w.-]", "-", stem) or "repository")
    # The journal of a clone would hold its address.
    command = [*GIT, "-c", "core.logAllRefUpdates=false", "clone", "--quiet", "--depth=1"]
    command += ["--branch", wanted] if wanted else []
    target = folder / "refs" / name
    env = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1"}
    try:
        done = subprocess.run(
            [*command, "--", address, str(target)], env=env, capture_output=True, text=True,
            timeout=CLONE_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        said, code = done.stderr, done.returncode
    except (OSError, subprocess.TimeoutExpired) as error:
        said, code = str(error), 1
    if code:
        lines = said.strip().splitlines()
        raise HardStop(
            "missing_input",
            f"{shown_url(address)} cannot be cloned "
            f"({shown_url(lines[-1]) if lines else 'git failed'})",
            fix=(
                "check address and network, or clone it elsewhere and give the folder as "
                "explore.source"
            ),
        )
    kept = shown_url(address)
    if kept != address:
        subprocess.run(
            [*GIT, "-C", str(target), "remote", "set-url", "origin", kept],
            capture_output=True, check=True, stdin=subprocess.DEVNULL, timeout=CLONE_TIMEOUT_S,
        )  # fmt: skip
    return _record(name, "shallow clone", kept, target)


def _free(folder: Path, name: str) -> str:
    taken = {"model", "README.md"} | {p.name for p in (folder / "refs").iterdir()}
    return name if name not in taken else f"{name}-source"


def _record(name: str, kind: str, origin: str, path: Path) -> dict[str, Any]:
    # A folder that only lies inside somebody's repository has no commit of its own.
    state = git_state(path) if _tracked(path) else dict.fromkeys(("commit", "branch", "is_dirty"))
    return {
        "name": name, "path": f"refs/{name}", "kind": kind, "origin": origin,
        "commit": state["commit"], "branch": state["branch"], "is_dirty": state["is_dirty"],
        "licence": licence(path),
    }  # fmt: skip


def _tracked(path: Path) -> bool:
    try:
        done = subprocess.run(
            [*GIT, "-C", str(path), "ls-files", "--", "."],
            capture_output=True, check=False, timeout=CLONE_TIMEOUT_S,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and bool(done.stdout.strip())


def licence(path: Path) -> str | None:
    """Return the first line of a licence file that says something, None without one."""
    for pattern in LICENCES:
        for file in sorted(path.glob(pattern)):
            if file.is_file():
                text = file.read_text(encoding="utf-8", errors="replace")
                line = next((x.strip() for x in text.splitlines() if x.strip()), None)
                return f"{file.name}: {line[:80]}" if line else file.name
    return None
