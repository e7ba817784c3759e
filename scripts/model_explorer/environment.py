"""Which Python environment is the current one, and how commands are run and packages added
there.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deft.core.errors import HardStop
from model_explorer.kit import probe as probe_module

PROBE = Path(probe_module.__file__)
PROBE_TIMEOUT_S = 120


@dataclass(frozen=True)
class Environment:
    """``kind``: pixi, venv, conda or system. ``command`` starts its Python. ``place``: what to
    call it.
    """

    kind: str
    command: list[str]
    place: Path
    found: list[str]
    manifest: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return what ``outputs/environment.json`` keeps."""
        return {
            "kind": self.kind, "python": " ".join(self.command), "command": self.command,
            "place": str(self.place), "found": self.found,
        }  # fmt: skip


def detect(roots: list[Path], choice: str = "auto") -> Environment:
    """Return the environment that the model is to run in.

    The first root with a pixi manifest or a ``.venv`` decides; a root with neither leaves it to the
    interpreter that runs this command. Raises HardStop ``config_invalid`` when both are there and
    ``choice`` is ``auto`` (a question to the user), ``missing_input`` for a choice that is not
    there.
    """
    for root in dict.fromkeys(roots):
        manifest, python = pixi_manifest(root), venv_python(root)
        found = [str(p) for p in (manifest, python) if p]
        if not found or choice == "running":
            continue
        if manifest and python and choice == "auto":
            raise HardStop(
                "config_invalid",
                f"both a pixi manifest ({manifest.name}) and a .venv are there; which one is "
                "current? "
                f"(this command runs in {sys.prefix})",
                file=root,
                fix="set explore.environment: pixi, venv or running",
            )
        if python and choice in ("auto", "venv"):
            return Environment("venv", [str(python)], root / ".venv", found)
        if manifest and choice in ("auto", "pixi"):
            return _pixi(manifest, found)
    if choice in ("pixi", "venv"):
        raise HardStop(
            "missing_input",
            f"explore.environment is {choice}, but neither {' nor '.join(str(r) for r in roots)} "
            "has one",
            fix="set explore.environment: auto, or running for the interpreter of this command",
        )
    return running()


def running() -> Environment:
    """Return the environment of this very interpreter."""
    prefix = Path(sys.prefix)
    if sys.prefix != sys.base_prefix:
        kind = "venv"
    else:
        kind = "conda" if (prefix / "conda-meta").is_dir() else "system"
    return Environment(
        kind, [sys.executable], prefix, [f"the interpreter of this command, {prefix}"]
    )


def pixi_manifest(root: Path) -> Path | None:
    """Return ``pixi.toml``, or a ``pyproject.toml`` that pixi manages."""
    own = root / "pixi.toml"
    if own.is_file():
        return own
    shared = root / "pyproject.toml"
    try:
        data = tomllib.loads(shared.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return shared if "pixi" in (data.get("tool") or {}) else None


def venv_python(root: Path) -> Path | None:
    """Return the interpreter of ``<root>/.venv``."""
    for name in ("bin/python", "Scripts/python.exe"):
        path = root / ".venv" / name
        if path.exists():
            return path.absolute()
    return None


def _pixi(manifest: Path, found: list[str]) -> Environment:
    if shutil.which("pixi") is None:
        raise HardStop(
            "missing_input",
            "the project is managed by pixi, but the command pixi is not on the PATH",
            file=manifest,
            fix="install pixi, or set explore.environment: running",
        )
    command = ["pixi", "run", "--manifest-path", str(manifest), "python"]
    return Environment("pixi", command, manifest.parent, found, manifest)


def ask(command: list[str], modules: list[str]) -> dict[str, Any]:
    """Return interpreter facts and, per module, whether it is there, its distribution and version.

    Raises HardStop ``missing_input`` when the interpreter does not start.
    """
    answer: dict[str, Any] | None = None
    try:
        done = subprocess.run(
            [*command, str(PROBE), *modules], capture_output=True, text=True,
            timeout=PROBE_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.stdout.strip():
            answer = json.loads(done.stdout.strip().splitlines()[-1])
        said = done.stderr
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        said = str(error)
    if answer is None:
        lines = said.strip().splitlines() or ["no answer"]
        raise HardStop(
            "missing_input",
            f"the environment's Python does not start ({lines[-1]})",
            file=command[0],
            fix="mend the environment, or set explore.environment: running",
        )
    return answer
