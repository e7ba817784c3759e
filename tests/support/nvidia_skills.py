"""NVIDIA's own DEFT AOI scripts, which the tests of tests/interop run beside the project.

They are read from the folder that ``TAO_SKILLS`` names: ``ea/`` holds github.com/NVIDIA/skills at
0482ebc (pre-generated pairs, state version 2), ``cur/`` holds github.com/NVIDIA-TAO/tao-skill-bank
at 49672c2 (state version 4). Nothing of them is part of this project.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

VARIANTS = {"ea": "NVIDIA/skills at 0482ebc", "cur": "NVIDIA-TAO/tao-skill-bank at 49672c2"}
AOI = {"ea": "skills/tao-run-deft-aoi", "cur": "skills/applications/tao-run-deft-aoi"}
LIMIT_S = 300


def skills_root() -> Path | None:
    """Return the folder that holds ``ea/`` and ``cur/``, or None where it is not set.

    Raises ValueError when it is set to a folder that lacks one of the two: that is a mistake, and
    skipping would hide it.
    """
    named = os.environ.get("TAO_SKILLS", "").strip()
    if not named:
        return None
    root = Path(named).expanduser().resolve()
    lacking = [name for name, skill in AOI.items() if not (root / name / skill).is_dir()]
    if lacking:
        wanted = ", ".join(f"{name}/ ({VARIANTS[name]})" for name in lacking)
        raise ValueError(f"TAO_SKILLS is {named}, which does not hold {wanted}")
    return root


needs_skills = pytest.mark.skipif(
    skills_root() is None, reason="NVIDIA's scripts: TAO_SKILLS is not set"
)


def skill_file(variant: str, relative_path: str) -> Path:
    """Return a file or folder of a variant's repository; it must be there."""
    root = skills_root()
    assert root is not None, "mark the test with needs_skills"
    path = root / variant / relative_path
    assert path.exists(), f"{path} does not exist; TAO_SKILLS must hold {VARIANTS[variant]}"
    return path


def run_script(
    variant: str, relative_path: str, *args: object, cwd: Path | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run one of their Python scripts, unpatched, and return what it said; raises nothing.

    ``relative_path``: below the variant's repository. It runs with this Python; ``env`` adds
    variables. No bytecode is written into their folder.
    """
    return subprocess.run(
        [sys.executable, str(skill_file(variant, relative_path)), *map(str, args)],
        cwd=cwd,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **env},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )


def run_aoi(
    variant: str, script: str, *args: object, cwd: Path | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run ``scripts/<script>`` of the variant's ``tao-run-deft-aoi``."""
    return run_script(variant, f"{AOI[variant]}/scripts/{script}", *args, cwd=cwd, **env)


def succeeded(done: subprocess.CompletedProcess[str]) -> str:
    """Return what a script printed; fails with all it said when it did not end with 0."""
    assert done.returncode == 0, f"{done.args}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def skipped_here(names: list[str]) -> str:
    """Return one line for the end of a test run: how many were skipped, and of which files."""
    files: dict[str, int] = {}
    for name in names:
        file = name.split("::")[0]
        files[file] = files.get(file, 0) + 1
    told = ", ".join(f"{count} of {file}" for file, count in sorted(files.items()))
    return f"NVIDIA's scripts: TAO_SKILLS is not set; skipped: {told}"
