"""A run of `engine: tao` whose `docker` is a stand-in (tests/support/tao_docker.py)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tao_docker import Docker, new_context, prepare, tao_context

from deft.core.layout import Run
from deft.stages.context import Context


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """A workspace whose baseline was trained, scored, evaluated and analysed; made once."""
    from stage_calls import evaluate, tao_infer, tao_rca, tao_train

    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        prepare(patch, Docker(folder / "docker"))
        made = new_context(folder)
        tao_train(made, "baseline", epochs=0)
        tao_infer(made, "baseline")
        evaluate(made, "baseline", 1.0)
        tao_rca(made, "baseline", 1.0, 2)
    return made.workspace


@pytest.fixture
def docker(tmp_path, monkeypatch) -> Docker:
    found = Docker(tmp_path / "docker")
    prepare(monkeypatch, found)
    return found


@pytest.fixture
def context(tmp_path) -> Context:
    """A run in which nothing has run."""
    return new_context(tmp_path)


@pytest.fixture
def done(trained, tmp_path) -> Context:
    """A copy of the run whose baseline is done."""
    workspace = tmp_path / "work space"
    shutil.copytree(trained, workspace, symlinks=True)
    return tao_context(Run(workspace, "run_a"))
