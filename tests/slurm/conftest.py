"""One cluster for all tests of this folder that ask for one, and only with `--slurm`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster
from guard import Refused
from slurm_tools import Workplace
from tiny_workspace import make_tiny_workspace


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--slurm", action="store_true", help="install and start a SLURM cluster on this machine"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a cluster, unless one may be started."""
    if config.getoption("--slurm", default=False):
        return
    skip = pytest.mark.skip(reason="starts a SLURM cluster on this machine: make test-slurm")
    for item in items:
        if item.get_closest_marker("slurm"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def session_cluster() -> Iterator[Cluster]:
    """A running cluster; stopped at the end, whatever happened."""
    try:
        cluster = Cluster.start()
    except Refused as error:
        pytest.exit(f"refused: {error}", returncode=1)
    try:
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def cluster(session_cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, idle before and after."""
    session_cluster.empty()
    yield session_cluster
    session_cluster.empty()


@pytest.fixture
def place(cluster: Cluster, tmp_path: Path) -> Iterator[Workplace]:
    """A workspace in which nothing has run, and how to run something there."""
    workspace = make_tiny_workspace(tmp_path / "workspace", base=12, pool=60)
    place = Workplace(workspace, tmp_path)
    yield place
    place.end()
