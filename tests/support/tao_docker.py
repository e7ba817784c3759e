"""A `docker` that checks its arguments and answers through the native engine; workspaces for it."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

import pytest
import yaml
from tiny_workspace import make_tiny_workspace

from deft.core.files import write_json_atomic
from deft.core.layout import Run
from deft.settings.config import resolve
from deft.settings.tao import settings
from deft.stages.context import Context

STANDIN = Path(__file__).resolve().parents[1] / "tao" / "standin.py"
VECTORS = os.environ.get("TAO_VECTORS", "")
SCHEMAS = Path(VECTORS).parent / "tao_schemas" if VECTORS else None
BACKBONE = {"backbone": "fan_tiny_8_p4_hybrid", "in_channels": (128, 256, 192, 192)}
CONFIG = {"engine": "tao", "encoder": "changenet", "random_weights": True}
CLEARED = (
    "HF_TOKEN",
    "NGC_API_KEY",
    "NGC_KEY",
    "AIR_GAPPED",
    "HF_HUB_OFFLINE",
    "CUDA_VISIBLE_DEVICES",
)


class Docker:
    """The stand-in: what images it has, what was asked of it, and its faults."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin = folder, folder / "bin"
        if self.bin.is_dir():
            return
        self.bin.mkdir(parents=True)
        images = settings({}).images.values()
        self.have({image: f"sha256:{i:064x}" for i, image in enumerate(images)})
        wrapper = self.bin / "docker"
        wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{STANDIN}" "$@"\n')
        wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)

    @property
    def environment(self) -> dict[str, str]:
        found = {
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
            "STANDIN_DIR": str(self.folder),
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        if SCHEMAS and SCHEMAS.is_dir():
            found["STANDIN_SCHEMAS"] = str(SCHEMAS)
        return found

    def have(self, images: dict[str, str]) -> None:
        (self.folder / "images.json").write_text(json.dumps(images))

    def fail(self, **faults: str) -> None:
        (self.folder / "faults.json").write_text(json.dumps(faults))

    def calls(self, *words: str) -> list[list[str]]:
        path = self.folder / "calls.jsonl"
        made = [json.loads(x) for x in path.read_text().splitlines()] if path.is_file() else []
        return [call for call in made if call[: len(words)] == list(words)]

    def containers(self) -> list[dict]:
        notes = sorted((self.folder / "containers").glob("*.json"))
        return [json.loads(note.read_text()) for note in notes]


def tao_workspace(path: Path, **more) -> Path:
    """Return a tiny workspace whose network is one of TAO's."""
    make_tiny_workspace(path, **{**BACKBONE, **more})
    file = path / "specs/baseline_spec.yaml"
    spec = yaml.safe_load(file.read_text())
    spec["model"]["decode_head"]["feature_strides"] = [4, 8, 16, 16]
    file.write_text(yaml.safe_dump(spec, sort_keys=False))
    return path


def prepare(patch: pytest.MonkeyPatch, docker: Docker) -> None:
    """Put the stand-in on PATH and clear what would change a command line."""
    for name in CLEARED:
        patch.delenv(name, raising=False)
    for name, value in docker.environment.items():
        patch.setenv(name, value)


def new_context(folder: Path) -> Context:
    """Return a run of `engine: tao` in a tiny workspace; nothing has run in it."""
    workspace = tao_workspace(
        folder / "work space", base=8, validation=6, kpi=8, pool=6, pregen=2, num_epochs=2
    )
    (workspace / ".env").write_text("NGC_API_KEY=not-for-containers\n")
    run = Run(workspace, "run_a")
    run.dir.mkdir(parents=True)
    write_json_atomic(run.dir / "deft_state.json", {"version": 2, "iterations": {}})
    return tao_context(run)


def tao_context(run: Run) -> Context:
    """Return a run as `engine: tao` sees it."""
    return Context(run, "tao", containers=resolve(CONFIG), random_weights=True)
