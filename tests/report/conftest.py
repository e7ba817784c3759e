"""Fixtures of the report's tests: each situation's run folder, built once."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

# scripts/report.py hides tests/report as a package, so its helper is put on the path itself.
sys.path.insert(0, str(Path(__file__).parent))

import fake_run  # noqa: E402

from deft.report import charts  # noqa: E402


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, fake_run.FakeRun]:
    """Every situation once; read only."""
    root = tmp_path_factory.mktemp("runs")
    out = {}
    for name, build in fake_run.SITUATIONS.items():
        (root / name).mkdir()
        out[name] = build(root / name)
    return out


@pytest.fixture
def unsaved_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the charts but leave out the slow printing as SVG."""
    monkeypatch.setattr(charts, "_svg", lambda figure, name, label: "<svg></svg>")


@pytest.fixture
def finished(built: dict[str, fake_run.FakeRun], tmp_path: Path) -> fake_run.FakeRun:
    """A copy of the finished run that a test may change."""
    source, copy = built["finished"].workspace, tmp_path / "w"
    shutil.copytree(source, copy)
    return fake_run.FakeRun(copy)
