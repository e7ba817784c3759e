"""The checks that NVIDIA's skills run on the folders of an analysis and a routing (shell hooks)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from nvidia_skills import skill_file

from deft.core.layout import BASELINE

ROOM = {"ea": "skills", "cur": "skills/data"}
RCA = "tao-analyze-gaps-visual-changenet/hooks"
ROUTING = "tao-route-visual-changenet-samples/hooks"
RCA_HOOKS = ("rca-artifacts-check.sh", "rca-section-check.sh", "rca-label-coverage.sh")
ROUTING_HOOKS = (
    *("routing-artifacts-check.sh", "routing-section-check.sh"),
    "routing-coverage-check.sh",
)
LAP = "iter1"


def rca_report(run: Path) -> Path:
    return next(run.glob(f"{BASELINE}/rca_results/*/RCA_Report.md"))


def routing_report(run: Path) -> Path:
    return next(run.glob(f"{LAP}/routing_results/*/Routing_Report.md"))


def hook(variant: str, folder: str, name: str, call: dict) -> str:
    """Return what one of their hooks says of a tool's call; it is silent where nothing is wrong."""
    script = skill_file(variant, f"{ROOM[variant]}/{folder}/{name}")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", str(script)],
        input=json.dumps(call),
        env={**os.environ, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1", "RCA_HOOKS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0 and done.stderr == ""
    return done.stdout


def written(path: Path) -> dict:
    """Return what a hook is told after a file was written."""
    return {"tool_name": "Write", "tool_input": {"file_path": str(path)}}
