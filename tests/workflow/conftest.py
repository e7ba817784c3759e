"""One finished run for all tests of this folder, made once however many workers there are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from tiny_workspace import make_tiny_workspace
from workflow_tools import copy_in_its_place, draw, snakemake, working_folder


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--finished", metavar="DIR", help="keep the finished run there and take it from there"
    )


def shared_folder(config: pytest.Config, factory: pytest.TempPathFactory) -> Path:
    """Return a folder that all xdist workers of this session see."""
    kept = config.getoption("--finished", default=None)
    if kept:
        Path(kept).mkdir(parents=True, exist_ok=True)
        return Path(kept).absolute()
    base = factory.getbasetemp()
    return base.parent if hasattr(config, "workerinput") else base


@pytest.fixture(scope="session")
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny workspace whose loop has run to its end, baseline and two laps. Not to be changed."""
    shared = shared_folder(request.config, tmp_path_factory)
    workspace, facts = shared / "finished", shared / "finished.json"
    with FileLock(shared / "finished.lock"):
        if not facts.is_file():
            shutil.rmtree(workspace, ignore_errors=True)
            done = snakemake(draw(workspace), own_start=True)
            shutil.rmtree(working_folder(workspace))
            facts.write_text(json.dumps({"status": done.returncode, "output": done.stdout}))
    result = json.loads(facts.read_text())
    assert result["status"] == 0, f"the loop did not end well:\n{result['output'][-6000:]}"
    return workspace


@pytest.fixture
def workspace(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be changed at will, as if it had run in its place."""
    return copy_in_its_place(finished, tmp_path / "workspace")


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A small workspace in which nothing has run."""
    return make_tiny_workspace(
        tmp_path / "workspace", base=6, validation=6, kpi=6, pool=6, pregen=2
    )
