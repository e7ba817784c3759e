"""The suite keeps its hands off machines that have a SLURM; and it finds what it left itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cluster import Cluster
from guard import CONFS, MARK, Refused, ours, own_pids, refusal
from workflow_tools import tree


def asked(root: Path, **facts: object) -> str | None:
    given = {"running": {}, "answers": False, "environment": {}, "user": "root", **facts}
    return refusal(root, **given)


def left_over(root: Path, base: Path) -> None:
    """A crashed suite's files: a base folder, its links, its pid files."""
    (base / "run").mkdir(parents=True)
    (base / MARK).touch()
    (base / "run/slurmctld.pid").write_text("4711\n")
    (base / "run/slurmd.cpu1.pid").write_text("4712")
    (root / "etc/slurm").mkdir(parents=True)
    for name in ("slurm.conf", "gres.conf"):
        (base / name).touch()
        (root / "etc/slurm" / name).symlink_to(base / name)


def test_an_empty_machine_may_have_a_cluster(tmp_path: Path) -> None:
    assert asked(tmp_path) is None


@pytest.mark.parametrize("conf", CONFS)
def test_a_configuration_of_the_machines_own_is_refused(tmp_path: Path, conf: str) -> None:
    (tmp_path / conf).parent.mkdir(parents=True)
    (tmp_path / conf).write_text("ClusterName=production\n")
    before = tree(tmp_path)
    assert conf in asked(tmp_path) and "of its own" in asked(tmp_path)
    assert tree(tmp_path) == before


def test_a_link_to_a_foreign_or_a_lost_configuration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "etc/slurm").mkdir(parents=True)
    link = tmp_path / "etc/slurm/slurm.conf"
    link.symlink_to("/shared/slurm.conf")
    assert "of its own" in asked(tmp_path)
    assert ours(link) is None


@pytest.mark.parametrize("daemon", ["slurmd", "slurmctld", "slurmdbd", "sackd"])
def test_a_running_daemon_is_refused(tmp_path: Path, daemon: str) -> None:
    reason = asked(tmp_path, running={99: daemon})
    assert f"{daemon} (99)" in reason


@pytest.mark.parametrize("name", ["SLURM_CONF", "SLURM_JOB_ID", "SLURM_CONF_SERVER"])
def test_a_shell_that_belongs_to_a_cluster_is_refused(tmp_path: Path, name: str) -> None:
    assert name in asked(tmp_path, environment={name: "1"})


def test_a_controller_that_answers_is_refused(tmp_path: Path) -> None:
    assert "answers" in asked(tmp_path, answers=True)


def test_only_root_may(tmp_path: Path) -> None:
    assert "root" in asked(tmp_path, user="nobody")


def test_what_an_earlier_suite_left_is_known(tmp_path: Path) -> None:
    base = tmp_path / "base"
    left_over(tmp_path, base)
    assert ours(tmp_path / "etc/slurm/slurm.conf") == base
    assert own_pids(base) == {4711, 4712}
    own = {4711: "slurmctld", 4712: "slurmd", 5000: "slurmstepd"}
    assert asked(tmp_path, running=own, answers=True) is None
    assert "slurmd (6)" in asked(tmp_path, running={**own, 6: "slurmd"})


def test_a_cluster_that_another_process_uses_is_refused(tmp_path: Path) -> None:
    base = tmp_path / "base"
    left_over(tmp_path, base)
    (base / MARK).write_text(str(os.getppid()))
    assert f"process {os.getppid()} has a cluster" in asked(tmp_path)
    (base / MARK).write_text(str(2**22 + 1))  # above the highest process id
    assert asked(tmp_path) is None


def test_nothing_is_installed_or_written_after_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    for name in ("install", "daemon"):
        monkeypatch.setattr(f"cluster.{name}", lambda *_: pytest.fail("touched the machine"))
    monkeypatch.setattr("tempfile.mkdtemp", lambda *_, **__: pytest.fail("wrote a folder"))
    with pytest.raises(Refused, match="SLURM_JOB_ID"):
        Cluster.start()


def test_the_suite_ends_with_the_reason() -> None:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("cluster.py")), "start"],
        env={**os.environ, "SLURM_JOB_ID": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.strip() == "refused: SLURM_JOB_ID is set: this machine belongs to a cluster"
