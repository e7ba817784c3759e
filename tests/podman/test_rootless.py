"""Podman without root: whose files they are, inside and outside, and what limits it may ask for.

The caller is a user of Debian's own. The ids that he may hand out stand in a file that only his
processes see in place of `/etc/subuid`; nothing of this machine's users is changed.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from podman_machine import ANSWER_S, Podman, install
from podman_machine import image as file_system
from tao_docker import tao_workspace

from deft.run.containers import command as commands
from deft.run.containers.command import Container, command
from deft.settings.tao import settings
from deft.tao.stages import container_for, give_back

pytestmark = pytest.mark.podman

CALLER = "games"
FIRST, COUNT = 200000, 65536  # the ids that he may hand out
IMAGE = settings({}).images["pyt"]
ENGINE = (
    '[containers]\nvolumes = ["/usr:/usr:ro"]\n'
    '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime = "runc"\n'
)
BECOME = """\
mount --bind "$0" /etc/subuid && mount --bind "$0" /etc/subgid || exit 1
uid=$1 gid=$2; shift 2
exec setpriv --reuid "$uid" --regid "$gid" --clear-groups env -i "$@"
"""


@dataclass(frozen=True)
class Caller:
    """A user without rights and a folder that is his."""

    uid: int
    gid: int
    folder: Path

    def run(self, *words: str, data: bytes | None = None) -> list[str]:
        """Run a program as him; returns the lines of its output, a bad end fails the test."""
        environment = {
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
            "USER": CALLER,
            "HOME": str(self.folder / "home"),
            "XDG_RUNTIME_DIR": str(self.folder / "run"),
            "CONTAINERS_CONF": str(self.folder / "containers.conf"),
        }
        pairs = [f"{name}={value}" for name, value in environment.items()]
        become = ["unshare", "--mount", "sh", "-c", BECOME, str(self.folder / "ids")]
        done = subprocess.run(
            [*become, str(self.uid), str(self.gid), *pairs, *words],
            input=data, capture_output=True, cwd="/", timeout=ANSWER_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{words}\n{(done.stdout + done.stderr).decode()}"
        return done.stdout.decode().splitlines()

    def owns(self) -> None:
        """Give him all that lies in his folder."""
        for path in (self.folder, *self.folder.rglob("*")):
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


@pytest.fixture
def caller(podman: Podman, monkeypatch) -> Iterator[Caller]:
    install(newuidmap="uidmap")
    found = pwd.getpwnam(CALLER)
    folder = Path(tempfile.mkdtemp(prefix="rootless", dir="/tmp"))  # where he may enter
    folder.chmod(0o755)
    for name in ("home", "run"):
        (folder / name).mkdir(mode=0o700)
    (folder / "ids").write_text(f"{CALLER}:{FIRST}:{COUNT}\n")
    (folder / "containers.conf").write_text(ENGINE)
    made = Caller(found.pw_uid, found.pw_gid, folder)
    try:
        made.owns()
        made.run("podman", "import", "--quiet", "-", IMAGE, data=file_system())
        # The commands are put together here, by his ids and rights.
        monkeypatch.setattr(os, "getuid", lambda: made.uid)
        monkeypatch.setattr(os, "getgid", lambda: made.gid)
        monkeypatch.setattr(commands, "_may_raise_limits", lambda: False)
        monkeypatch.setenv("AIR_GAPPED", "1")  # a network of his own needs one more program
        yield made
        left = json.loads("".join(made.run("podman", "ps", "--all", "--format", "json")))
        assert left == [], "containers were left behind"
    finally:
        for path in (folder / "run").rglob("pause.pid"):  # it holds his user namespace
            os.kill(int(path.read_text()), signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def stage(caller: Caller, script: str, **config: str) -> Container:
    """Return a training's container that runs a script instead."""
    workspace = tao_workspace(caller.folder / "w", base=4, validation=4, kpi=4, pool=4, pregen=1)
    scratch = workspace / "results/run_a/baseline/tao/train"
    made = container_for(
        settings({"container_runtime": "podman", **config}), "train", ("sh", "-c", script),
        root=workspace, run="run_a", phase="baseline", scratch=scratch,
    )  # fmt: skip
    caller.owns()
    return made


def owners(folder: Path) -> set[tuple[int, int]]:
    return {(p.lstat().st_uid, p.lstat().st_gid) for p in folder.rglob("*")}


def test_what_the_caller_writes_inside_is_his_outside(caller: Caller):
    script = "id -u; id -un; touch out/x /results/y; touch ../x || echo refused; ulimit -l"
    made = stage(caller, script)
    said = caller.run(*command(made))
    assert said[:3] == [str(caller.uid), "deft", "refused"], said
    assert (made.workdir / "out/x").exists() and (made.workdir / "home/results/y").exists()
    assert owners(made.workdir) == {(caller.uid, caller.gid)}


def test_what_root_or_others_wrote_inside_is_given_to_the_caller(caller: Caller):
    script = "id -u; touch out/x out/y; chown 33:33 out/y"
    made = stage(caller, script, container_user="root")
    assert caller.run(*command(made)) == ["0"]
    assert (FIRST + 32, FIRST + 32) in owners(made.workdir)
    caller.run(*command(give_back(made, made.workdir)))
    assert owners(made.workdir) == {(caller.uid, caller.gid)}
