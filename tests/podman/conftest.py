"""One podman for all tests of this folder that ask for one, and only with `--podman`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import workflow_tools
from podman_machine import Podman, Refused
from tao_docker import CLEARED

from deft.settings.tao import settings


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--podman", action="store_true", help="install podman and run containers")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs podman, unless it may be run."""
    if config.getoption("--podman", default=False):
        return
    skip = pytest.mark.skip(reason="runs containers with podman, as root: make test-podman")
    for item in items:
        if item.get_closest_marker("podman"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def session_podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """A podman with TAO's images; nothing of it is left at the end, whatever happened."""
    podman = None
    try:
        try:
            podman = Podman.start(tmp_path_factory.mktemp("podman") / "own")
        except Refused as error:
            pytest.exit(f"refused: {error}", returncode=1)
        podman.have(*settings({}).images.values())
        yield podman
    finally:
        if podman is not None:
            podman.stop()


@pytest.fixture
def podman(session_podman: Podman, monkeypatch: pytest.MonkeyPatch) -> Iterator[Podman]:
    """The suite's podman for every command that a test starts; no container before and after."""
    for name in CLEARED:
        monkeypatch.delenv(name, raising=False)
    for name, value in session_podman.environment.items():
        monkeypatch.setenv(name, value)
    environment = workflow_tools.clean_environment()
    monkeypatch.setattr(workflow_tools, "clean_environment", lambda: environment)
    session_podman.fail()
    yield session_podman
    left = session_podman.containers()
    session_podman.run("rm", "--all", "--force", "--time", "0")
    assert left == [], "containers were left behind"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose name has what a command line stumbles over."""
    path = tmp_path / "line 7, 'new'"
    path.mkdir()
    return path
