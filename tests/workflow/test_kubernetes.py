"""The manifest for Kubernetes: its arguments are a command that plans, its limits are theirs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from workflow_tools import CONFIG, REPOSITORY, planned_rules, run_to_end, succeed, working_folder

pytestmark = pytest.mark.workflow
MANIFEST = REPOSITORY / "profiles/kubernetes/job.yaml"
MIB = {"Gi": 1024, "Mi": 1}


def pod() -> dict[str, Any]:
    """Return the pod's specification."""
    return yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))["spec"]["template"]["spec"]


def mib(amount: str) -> int:
    """Return an amount of memory."""
    return int(amount[:-2]) * MIB[amount[-2:]]


def test_limits_are_what_snakemake_is_told() -> None:
    spec = pod()
    (container,) = spec["containers"]
    args, resources = container["args"], container["resources"]
    given = dict(word.split("=") for word in args if "=" in word)
    limits = resources["limits"]
    assert args[args.index("--cores") + 1] == limits["cpu"] == resources["requests"]["cpu"]
    assert given["gpu"] == limits["nvidia.com/gpu"]
    (shm,) = (v["emptyDir"] for v in spec["volumes"] if "emptyDir" in v)
    used_mib = int(given["mem_mb"]) * 10**6 / 2**20 + mib(shm["sizeLimit"])
    assert used_mib <= mib(limits["memory"]) == mib(resources["requests"]["memory"])
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in spec["volumes"]}
    assert given["workspace"] == mounts["workspace"]


def test_user_is_the_images() -> None:
    user = f"{pod()['securityContext']['runAsUser']}:{pod()['securityContext']['runAsGroup']}"
    assert f"USER {user}\n" in (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")


def test_arguments_plan_the_loop(fresh: Path) -> None:
    here = {"/opt/deft": str(REPOSITORY), "/data": str(fresh)}
    args = pod()["containers"][0]["args"]
    for there, place in here.items():
        args = [word.replace(there, place) for word in args]
    entry = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
    more = [f"{k}={v}" for k, v in CONFIG.items() if k not in ("workspace", "device")]
    command = [*entry, "-n", *args, *more]
    planned = planned_rules(succeed(run_to_end(command, working_folder(fresh))))
    assert planned["train"] == planned["gate"] == 1
